"""Whatever is killed: a predict job of 5,000 files ends with each of them once, as an unbroken one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from masktune.contract.vocabulary import JobState
from tests.integration.worker.many_files import add_prediction, make_files
from tests.integration.worker.service import Service, kill, open_service
from tests.support.waits import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

FILES, BROKEN = 5000, 7


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_files(tmp_path_factory.mktemp("many"), FILES, broken=BROKEN)


@pytest.fixture
def service(tmp_path: Path, store: Path) -> Iterator[Service]:
    opened = open_service(tmp_path / "service", store, max_crashes=2)  # in a row, without a shard between
    yield opened
    opened.close()


def _await_shards(service: Service, job_id: str, count: int) -> None:
    shards = Path(service.artifacts.root) / f"jobs/{job_id}/work/shards-uncalibrated"
    wait_until(lambda: len(list(shards.glob("[0-9]*"))) >= count, lambda: f"{count} shards: {service.log()}")


def _table(service: Service, job_id: str) -> Path:
    return service.artifacts.file(f"jobs/{job_id}/predictions", "predictions.parquet")


def test_a_child_and_a_worker_are_killed_in_the_middle(service: Service) -> None:
    job_id = add_prediction(service)
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

    unbroken = add_prediction(service)
    assert service.await_state(unbroken, JobState.SUCCEEDED).attempt == 1
    assert _table(service, job_id).read_bytes() == _table(service, unbroken).read_bytes()
    jobs = Path(service.artifacts.root, "jobs")
    wait_until(lambda: not list(jobs.glob("*/work")), lambda: "the end of the work folders")
    assert list(jobs.rglob(".*")) == []
