"""Other workers compute shards of a pass: whatever becomes of them or their messages, the job ends with the
bytes of one worker alone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.queries import jobs
from core.storage.trash import discard
from core.tables import JobRow
from masktune.contract.vocabulary import JobState
from tests.integration.worker.many_files import (
    add_masktune,
    add_prediction,
    add_training_of_a_head,
    make_files,
)
from tests.integration.worker.service import Service, kill, open_service
from tests.support.databases import postgres_database
from tests.support.machine import needs
from tests.support.servers import Redis
from tests.support.waits import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SHARDS = 8


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_files(tmp_path_factory.mktemp("many"), 512 * SHARDS)


@dataclass
class Unhelped:
    """What a service with one worker makes of each job, once for all tests."""

    service: Service
    jobs: dict[Callable[[Service], str], JobRow] = field(default_factory=dict)

    def job(self, add: Callable[[Service], str]) -> JobRow:
        if add not in self.jobs:
            worker = self.service.start_worker()
            self.jobs[add] = self.service.await_state(add(self.service), JobState.SUCCEEDED)
            worker.terminate()
            worker.wait()
        return self.jobs[add]


@pytest.fixture(scope="module")
def unhelped(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[Unhelped]:
    service = open_service(tmp_path_factory.mktemp("unhelped"), store)
    yield Unhelped(service)
    service.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    needs("redis-server")
    server = Redis(tmp_path, os.environ, persistent=False)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def service(tmp_path: Path, store: Path, redis: Redis) -> Iterator[Service]:
    with postgres_database() as database:
        opened = open_service(
            tmp_path / "service", store, database_url=database, broker_url=redis.url, lease_seconds=10.0
        )
        yield opened
        opened.close()


def _shards(service: Service, job_id: str, kind: str) -> list[str]:
    """Those of predictions, of early stages, or of a pass whose key begins with this `kind`."""
    work = Path(service.artifacts.root) / f"jobs/{job_id}/work"
    return sorted(path.name for path in work.glob(f"{kind}-*/[0-9]*"))


def _await_shards(service: Service, job_id: str, count: int, *, kind: str = "*") -> None:
    wait_until(
        lambda: len(_shards(service, job_id, kind)) >= count,
        lambda: f"{count} shards, there are {_shards(service, job_id, kind)}: {service.log()}",
    )


def _held_after_its_first_shard(
    service: Service, add: Callable[[Service], str] = add_prediction, *, kind: str = "*"
) -> tuple[str, int]:
    """A job whose own child is stopped after the first shard that it makes; and its pid."""
    service.start_worker()
    job_id = add(service)
    _await_shards(service, job_id, 1, kind=kind)
    (child,) = service.children()
    os.kill(child, signal.SIGSTOP)
    return job_id, child


def _helped(service: Service, job_id: str, *, helpers: int = 1) -> subprocess.Popen[bytes]:
    """The last of so many `helpers` that have taken all shards which the stopped child has not."""
    started = [service.start_worker() for _ in range(helpers)]
    service.await_taken(job_id)
    return started[-1]


def _helper_of(service: Service, child: int) -> int:
    def helpers() -> list[int]:
        return [pid for pid in service.children() if pid != child]

    wait_until(lambda: len(helpers()) == 1, service.log)
    return helpers()[0]


def _table(service: Service, job_id: str) -> bytes:
    return service.artifacts.file(f"jobs/{job_id}/predictions", "predictions.parquet").read_bytes()


def _check_equal(service: Service, job_id: str, unhelped: Unhelped) -> None:
    """The predictions of a helped job and of one that no other worker could help."""
    assert _table(service, job_id) == _table(unhelped.service, unhelped.job(add_prediction).id)


def test_an_idle_worker_computes_what_the_job_has_not(service: Service, unhelped: Unhelped) -> None:
    job_id, child = _held_after_its_first_shard(service)
    helper = _helped(service, job_id)
    os.kill(child, signal.SIGCONT)
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert job.attempt == 1
    helped, ended = service.log_lines(job_id)
    assert helped.startswith("worker ")
    assert f":{helper.pid} " in helped
    assert "by other workers" in ended
    _check_equal(service, job_id, unhelped)
    wait_until(lambda: not list(Path(service.artifacts.root, "jobs").glob("*/work")), service.log)


def test_a_helper_is_killed_with_its_worker_and_another_goes_on(service: Service, unhelped: Unhelped) -> None:
    job_id, child = _held_after_its_first_shard(service)
    first = service.start_worker()
    _await_shards(service, job_id, 3)
    kill(_helper_of(service, child))
    _await_shards(service, job_id, 3)
    kill(first.pid)
    first.wait()
    service.start_worker()
    os.kill(child, signal.SIGCONT)
    assert service.await_state(job_id, JobState.SUCCEEDED).attempt == 1
    _check_equal(service, job_id, unhelped)


def test_the_job_s_own_worker_is_killed_and_its_helper_takes_the_job(
    service: Service, unhelped: Unhelped
) -> None:
    job_id, child = _held_after_its_first_shard(service)
    service.start_worker()
    _helper_of(service, child)
    owner = service.workers[0]
    kill(owner.pid)
    owner.wait()
    os.kill(child, signal.SIGCONT)  # its stdin has ended
    assert service.await_state(job_id, JobState.SUCCEEDED).attempt == 2
    _check_equal(service, job_id, unhelped)


def test_the_broker_is_killed_and_forgets_the_shards(
    service: Service, redis: Redis, unhelped: Unhelped
) -> None:
    job_id, child = _held_after_its_first_shard(service)
    redis.kill()
    redis.start()
    service.start_worker()
    os.kill(child, signal.SIGCONT)
    assert service.await_state(job_id, JobState.SUCCEEDED).attempt == 1
    _check_equal(service, job_id, unhelped)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_compute_the_features_of_a_training_together(
    service: Service, unhelped: Unhelped, workers: int
) -> None:
    """Of early stages too, whose axes are fitted once all shards of the first images are there."""
    job_id, child = _held_after_its_first_shard(service, add_training_of_a_head)
    _helped(service, job_id, helpers=workers - 1)
    os.kill(child, signal.SIGCONT)
    together = service.await_state(job_id, JobState.SUCCEEDED)
    assert any("early stages" in line and "by other workers" in line for line in service.log_lines(job_id))
    alone = unhelped.job(add_training_of_a_head)
    assert together.done["retrain_head"]["weights"] == alone.done["retrain_head"]["weights"]


def test_workers_compute_the_masks_of_a_training_together(service: Service, unhelped: Unhelped) -> None:
    job_id, child = _held_after_its_first_shard(service, add_masktune, kind="masks")
    _helped(service, job_id)
    os.kill(child, signal.SIGCONT)
    together = service.await_state(job_id, JobState.SUCCEEDED)
    assert any(line.startswith("masks: ") and "by other" in line for line in service.log_lines(job_id))
    alone = unhelped.job(add_masktune)
    masks = [
        made_by.artifacts.folder(job.done["mask"]["artifact"])
        for made_by, job in ((service, together), (unhelped.service, alone))
    ]
    for name in ("masks.npy", "mask_set.json"):
        assert (masks[0] / name).read_bytes() == (masks[1] / name).read_bytes()
    assert together.done["finetune"]["weights"] == alone.done["finetune"]["weights"]


def test_a_job_that_is_cancelled_and_deleted_meanwhile_leaves_nothing(service: Service) -> None:
    job_id, child = _held_after_its_first_shard(service)
    service.start_worker()
    helper = _helper_of(service, child)
    _await_shards(service, job_id, 2)
    with service.database.begin() as session:
        jobs.cancel(session, job_id)
    os.kill(child, signal.SIGCONT)
    service.await_state(job_id, JobState.CANCELLED)
    with service.database.begin() as session:
        jobs.delete(session, job_id)
        discard(session, service.database, service.artifacts, [f"jobs/{job_id}"])
    wait_until(lambda: helper not in service.children(), service.log)
    wait_until(lambda: not Path(service.artifacts.root, "jobs", job_id).exists(), service.log)
