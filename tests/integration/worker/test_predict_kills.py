"""Whatever is killed: a predict job of 5,000 files ends with each of them once, as an unbroken one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from core.queries import registry
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, JobKind, JobState
from models.backbones.build import build_network
from models.data.importing.datasets import import_dataset
from models.export import card_of, save_model
from tests.integration.worker.real_jobs import CLASSES, add_job
from tests.integration.worker.service import Service, kill, open_service
from tests.support.rows import model_row
from tests.support.waits import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

FILES, BROKEN = 5000, 7


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small PNGs, of which some end too early."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for number in range(FILES):
        file = folder / "images" / CLASSES[number % 2] / f"{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
        if number < BROKEN:
            file.write_bytes(file.read_bytes()[:-200])
    report = import_dataset(folder / "images", folder / "store")
    assert (report.state, report.count) == ("ready", FILES - BROKEN)
    return folder / "store"


@pytest.fixture
def service(tmp_path: Path, store: Path) -> Iterator[Service]:
    opened = open_service(tmp_path / "service", store, max_crashes=2)  # in a row, without a shard between
    yield opened
    opened.close()


def _add(service: Service) -> str:
    """Queue the prediction of all files by a network that takes some seconds for them."""
    model_id = new_id("mdl")
    network = build_network("small_cnn", classes=2, image_size=64, seed=3)
    with service.artifacts.writing(f"models/{model_id}") as folder:
        save_model(network, card_of(network, CLASSES, "imported"), folder)
    with service.database.begin() as session:
        registry.add(session, model_row(id=model_id, arm=Arm.IMPORTED, classes=list(CLASSES)))
    inputs, params = {"model": model_id}, {"split": "all"}
    job_id = add_job(service.database, JobKind.PREDICT, service.dataset_id, params=params, inputs=inputs)
    service.notifier.notify(job_id)
    return job_id


def _await_shards(service: Service, job_id: str, count: int) -> None:
    shards = Path(service.artifacts.root) / f"jobs/{job_id}/work/shards-uncalibrated"
    wait_until(lambda: len(list(shards.glob("[0-9]*"))) >= count, lambda: f"{count} shards: {service.log()}")


def _table(service: Service, job_id: str) -> Path:
    return service.artifacts.file(f"jobs/{job_id}/predictions", "predictions.parquet")


def test_a_child_and_a_worker_are_killed_in_the_middle(service: Service) -> None:
    job_id = _add(service)
    service.start_worker()
    for shards in (2, 4):
        _await_shards(service, job_id, shards)
        (child,) = service.children()
        kill(child)
    _await_shards(service, job_id, 6)
    holder = service.worker_of(job_id)
    kill(holder.pid)
    holder.wait()
    service.await_no_child()
    service.start_worker()
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert job.attempt == 4
    rows = pq.read_table(_table(service, job_id)).to_pylist()
    assert [row["row"] for row in rows] == [*range(FILES - BROKEN), *[None] * BROKEN]
    assert len({row["path"] for row in rows}) == FILES
    assert {row["reason"].partition(":")[0] for row in rows[-BROKEN:]} == {"truncated"}

    unbroken = _add(service)
    assert service.await_state(unbroken, JobState.SUCCEEDED).attempt == 1
    assert _table(service, job_id).read_bytes() == _table(service, unbroken).read_bytes()
    jobs = Path(service.artifacts.root, "jobs")
    wait_until(lambda: not list(jobs.glob("*/work")), lambda: "the end of the work folders")
    assert list(jobs.rglob(".*")) == []
