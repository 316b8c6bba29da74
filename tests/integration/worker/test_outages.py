"""A full or read-only disk, a database or a broker that goes away: the job says so or waits, and goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import redis as redis_client

from core.notifications import QUEUE
from core.queries import jobs
from core.tables import JobRow
from masktune.contract.vocabulary import JobState, Stage
from tests.integration.worker.service import (
    Reference,
    Service,
    check_ended_once,
    open_service,
    weights,
)
from tests.support.databases import postgres_database
from tests.support.machine import lacks, needs
from tests.support.proxies import MovingProxy
from tests.support.servers import Redis, wait_for_port
from tests.support.waits import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SMALL = 24 * 2**20
"""Bytes of the disk that fills up."""


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lacks("mount")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of the test's own, mounted twice: the second place can be made read-only."""
    needs("mount")
    inside, place = tmp_path / "disk", tmp_path / "artifacts"
    inside.mkdir()
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={SMALL}", "masktune-test", str(inside))
    try:
        _mount("--bind", str(inside), str(place))
        yield place
    finally:
        for mounted in (place, inside):
            subprocess.run(["umount", "--lazy", str(mounted)], check=False, capture_output=True)


@contextmanager
def service_on(disk: Path, folder: Path, store: Path) -> Iterator[Service]:
    service = open_service(folder / "data", store, storage_url=f"file://{disk}")
    try:
        yield service
    finally:
        service.close()


def fill(path: Path, *, but: int) -> None:
    """Write until so many bytes are free."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**16))
    os.truncate(path, path.stat().st_size - but)
    assert shutil.disk_usage(path.parent).free == but


def go_on(service: Service, job_id: str) -> None:
    """As `POST /jobs/{id}/resume` does."""
    with service.database.begin() as session:
        jobs.resume(session, job_id)
    service.notifier.notify(job_id)


def check_equal(job: JobRow, reference: Reference) -> None:
    """It is what a job makes that nothing happened to."""
    assert weights(job) == reference.weights
    assert job.metrics == reference.metrics


@contextmanager
def full(disk: Path, *, but: int) -> Iterator[None]:
    """A job that fails meanwhile leaves nothing half-written: it would take space that nobody has."""
    filler = disk / "filler"
    fill(filler, but=but)
    yield
    assert list(disk.rglob("*.partial")) == []
    filler.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    _mount("-o", "remount,bind,ro", str(disk))
    yield
    _mount("-o", "remount,bind,rw", str(disk))


OUTAGES: list[tuple[Callable[[Path], AbstractContextManager[None]], str]] = [
    (partial(full, but=0), "storage_full"),
    (partial(full, but=200 * 2**10), "storage_full"),  # ends in the middle of a tensor
    (read_only, "storage_not_writable"),
]


@pytest.mark.trains
def test_a_disk_that_takes_no_more_fails_the_job_with_words_and_resume_goes_on(
    disk: Path, tmp_path: Path, reference: Reference
) -> None:
    """Three times in the same stage of one job: each resume goes on from the epoch before."""
    with service_on(disk, tmp_path, reference.store) as service:
        service.start_worker()
        job_id = service.add_held_at(Stage.FINETUNE)
        for number, (outage, reason) in enumerate(OUTAGES):
            if number > 0:
                service.hold_at(Stage.FINETUNE)
                go_on(service, job_id)
                service.await_child_at(Stage.FINETUNE)
            with outage(disk):
                service.open_gates()
                job = service.await_state(job_id, JobState.FAILED)
            assert job.error is not None
            assert (job.error["status"], job.error["reason"]) == (507, reason)
            assert "resume" in job.error["detail"]
            assert str(tmp_path) not in str(job.error)
            assert Stage.MASK in job.done
        go_on(service, job_id)
        check_equal(service.await_state(job_id, JobState.SUCCEEDED), reference)


@pytest.mark.trains
def test_a_broker_that_fails_over_to_its_replica_is_connected_to_again(
    tmp_path: Path, reference: Reference
) -> None:
    """The master dies with a message that the replica may never have had, and the address moves."""
    needs("redis-server")
    with ExitStack() as stack:
        master, replica = (Redis(tmp_path, os.environ, persistent=False) for _ in range(2))
        for server in (master, replica):
            server.start()
            stack.callback(server.kill)
            wait_for_port(server.port, "Redis")
        client = stack.enter_context(redis_client.Redis(port=replica.port))
        client.replicaof("127.0.0.1", master.port)
        address = stack.enter_context(closing(MovingProxy("127.0.0.1", master.port)))
        url = f"redis://127.0.0.1:{address.port}/0"
        database = stack.enter_context(postgres_database())
        service = open_service(tmp_path / "data", reference.store, database_url=database, broker_url=url)
        stack.callback(service.close)
        service.start_worker()
        job_ids = [service.add_held_at(Stage.FINETUNE), service.add()]
        master.kill()
        client.replicaof("NO", "ONE")
        address.move(replica.port)
        service.open_gates()
        wait_until(lambda: any(c["cmd"] == "brpop" for c in client.client_list()), service.log)
        job_ids.append(service.add())
        for job_id in job_ids:
            check_ended_once(service, service.await_state(job_id, JobState.SUCCEEDED), reference)
        wait_until(lambda: client.llen(QUEUE) == client.hlen("unacked") == 0, service.log)
