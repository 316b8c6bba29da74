"""Whatever is killed: an import goes on from its shards, and ends with the store of an unbroken one."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masktune.contract.vocabulary import JobState
from models.data.importing.datasets import import_dataset
from models.data.importing.shards import SHARD_ENTRIES
from tests.integration.worker.service import Service, kill, open_service
from tests.support.jobs.real_jobs import CLASSES
from tests.support.waits import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SHARDS = 4
FILES, BROKEN = SHARDS * SHARD_ENTRIES - 100, 7


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small packed data set, and beside it more images: a shard of them takes a second or so."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for number in range(FILES):
        file = folder / "images" / CLASSES[number % 2] / f"{number:04}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((300, 300)).save(file)
        if number < BROKEN:
            file.write_bytes(file.read_bytes()[:-200])
    for number in range(40):
        file = folder / "few" / CLASSES[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)
    import_dataset(folder / "few", folder / "store")
    return folder / "store"


@pytest.fixture
def service(tmp_path: Path, store: Path) -> Iterator[Service]:
    opened = open_service(tmp_path / "service", store, max_crashes=2)  # in a row, without a shard between
    yield opened
    opened.close()


def _names(number: int) -> set[str]:
    """The files of a shard: the manifest names one class after the other."""
    paths = [f"{n:04}.jpg" for parity in (0, 1) for n in range(parity, FILES, 2)]
    return set(paths[number * SHARD_ENTRIES : (number + 1) * SHARD_ENTRIES])


def _shards(service: Service, job_id: str) -> list[int]:
    return sorted(
        int(p.name)
        for p in Path(service.artifacts.root).glob(f"jobs/{job_id}/work/shards-*/*")
        if p.name.isdigit()
    )


def _interrupted(service: Service, job_id: str, how: str) -> None:
    """Kill the child, kill the worker or stop it, and start another."""
    if how == "child":
        attempt = service.job(job_id).attempt
        kill(service.children()[0])
        wait_until(lambda: service.job(job_id).attempt > attempt, service.log)  # one fault after the other
        return
    holder = service.worker_of(job_id)
    kill(holder.pid) if how == "worker" else holder.terminate()
    holder.wait()
    service.await_no_child()
    service.start_worker()


def test_a_child_and_a_worker_are_killed_and_a_worker_is_stopped(service: Service) -> None:
    service.record(".jpg")
    job_id = service.add_import()
    service.start_worker()
    finished = list[tuple[int, set[str]]]()
    for count, how in enumerate(("child", "worker", "stop"), start=1):
        wait_until(lambda: len(_shards(service, job_id)) >= count, service.log)  # noqa: B023  # waited for here
        done = set[str]().union(*map(_names, _shards(service, job_id)))
        finished.append((len(service.recorded()), done))
        _interrupted(service, job_id, how)
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert job.attempt == 4
    opened = service.recorded()
    for place, done in finished:
        assert done, "nothing was finished before"
        assert not done.intersection(opened[place:]), "an image of a finished shard was decoded again"
    assert set(opened) == set[str]().union(*map(_names, range(SHARDS)))

    unbroken = service.add_import()
    assert service.await_state(unbroken, JobState.SUCCEEDED).attempt == 1
    first, second = (service.artifacts.folder(_store_of(service, one)) for one in (job_id, unbroken))
    names = sorted(path.name for path in first.iterdir())
    assert "samples.arrow" in names
    assert filecmp.cmpfiles(first, second, names, shallow=False) == (names, [], [])


def _store_of(service: Service, job_id: str) -> str:
    return str(service.job(job_id).done["import"]["artifact"])
