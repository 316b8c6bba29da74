"""Other workers compute shards of a pass: whatever becomes of them or their messages, the job ends with the
bytes of one worker alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from masktune.contract.vocabulary import EventType, JobState
from tests.conftest import postgres_database
from tests.integration.worker.many_files import add_prediction, make_files
from tests.integration.worker.service import Service, open_service
from tests.machine import needs
from tests.support.servers import Redis
from tests.support.waits import wait_until

SHARDS = 8


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_files(tmp_path_factory.mktemp("many"), 512 * SHARDS)


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


def _shards(service: Service, job_id: str) -> list[str]:
    work = Path(service.artifacts.root) / f"jobs/{job_id}/work/shards-uncalibrated"
    return sorted(path.name for path in work.glob("[0-9]*"))


def _await_shards(service: Service, job_id: str, count: int) -> None:
    wait_until(
        lambda: len(_shards(service, job_id)) >= count,
        lambda: f"{count} shards, there are {_shards(service, job_id)}: {service.log()}",
    )


def _held_after_its_first_shard(service: Service) -> tuple[str, int]:
    """A job whose own child is stopped after the first shard that it makes, the last of all; and its pid."""
    service.start_worker()
    job_id = add_prediction(service)
    _await_shards(service, job_id, 1)
    (child,) = service.children()
    os.kill(child, signal.SIGSTOP)
    return job_id, child


def _helper_of(service: Service, child: int) -> int:
    def helpers() -> list[int]:
        return [pid for pid in service.children() if pid != child]

    wait_until(lambda: len(helpers()) == 1, service.log)
    return helpers()[0]


def _table(service: Service, job_id: str) -> bytes:
    return service.artifacts.file(f"jobs/{job_id}/predictions", "predictions.parquet").read_bytes()


def _logs(service: Service, job_id: str) -> list[str]:
    return [str(e.data["message"]) for e in service.events(job_id) if e.type == EventType.LOG]


def _check_equal_to_an_unhelped_job(service: Service, job_id: str) -> None:
    """Of a worker that no other helps, since it alone is left."""
    for worker in service.workers[1:]:
        if worker.poll() is None:
            worker.terminate()
            worker.wait()
    alone = add_prediction(service)
    service.await_state(alone, JobState.SUCCEEDED)
    assert _logs(service, alone) == []
    assert _table(service, job_id) == _table(service, alone)


def test_an_idle_worker_computes_what_the_job_has_not(service: Service) -> None:
    job_id, child = _held_after_its_first_shard(service)
    helper = service.start_worker()
    _await_shards(service, job_id, SHARDS)
    os.kill(child, signal.SIGCONT)
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert job.attempt == 1
    helped, ended = _logs(service, job_id)
    assert helped.startswith("worker ")
    assert f":{helper.pid} " in helped
    assert "by other workers" in ended
    _check_equal_to_an_unhelped_job(service, job_id)
    wait_until(lambda: not list(Path(service.artifacts.root, "jobs").glob("*/work")), service.log)
