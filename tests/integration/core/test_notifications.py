"""The doorbell on both brokers: jobs that wait for long, messages that are lost, the end of a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from core.notifications import QUEUE, Doorbell
from core.queries import jobs
from core.session import Database
from core.settings import Settings
from core.sweep import sweep
from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind
from tests.conftest import redis_server


@pytest.fixture(params=["folder", "redis"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "folder":
            yield f"folder://{tmp_path}/queue"
        else:
            yield stack.enter_context(redis_server(tmp_path))[0]


def _messages(doorbell: Doorbell) -> int:
    """How many wait, once all that was asked for until now has been sent."""
    doorbell._pool.submit(int).result()
    with doorbell.celery.connection_for_read() as connection:
        queue = doorbell.celery.amqp.queues[QUEUE].bind(connection.default_channel)
        return int(queue.queue_declare().message_count)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_jobs_that_wait_for_long_fill_no_queue_and_are_told_of_again(
    database: Database, broker: str, tmp_path: Path
) -> None:
    often = Settings(data_dir=tmp_path, broker_url=broker, reannounce_seconds=1e-6)
    with closing(Doorbell(broker)) as doorbell:
        for _ in range(5):
            with database.begin() as session:
                made = jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.ERM, params={})).id
            doorbell.ring(made)
        for _ in range(20):
            sweep(database, doorbell, often)
        assert _messages(doorbell) == 5
        doorbell.celery.control.purge()
        assert _messages(doorbell) == 0
        sweep(database, doorbell, often)
        assert _messages(doorbell) == 5


def test_a_broker_that_is_away_is_left_to_the_sweep(caplog: pytest.LogCaptureFixture) -> None:
    with closing(Doorbell("redis://127.0.0.1:1/0")) as doorbell:
        doorbell.ring_again(["job_1", "job_2"])
        doorbell._pool.submit(int).result()
    assert "2 jobs were not announced again" in caplog.text


class Held(Celery):  # type: ignore[misc]  # celery has no types
    """A broker that takes no message until the gate opens."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__(set_as_current=False)
        self.gate, self.sent = gate, 0

    def send_task(self, *args: Any, **kwargs: Any) -> None:
        self.gate.wait(20)
        self.sent += 1


def test_closing_awaits_one_ring_and_not_all(tmp_path: Path, wait_until: Any) -> None:
    gate = threading.Event()
    doorbell = Doorbell(f"folder://{tmp_path}/queue")
    doorbell.celery = held = Held(gate)
    for _ in range(50):
        doorbell.ring("job_1")

    def closed() -> bool:
        try:
            doorbell.ring("job_2")
        except RuntimeError:
            return True
        return False

    with ThreadPoolExecutor() as pool:
        closing = pool.submit(doorbell.close)
        wait_until(closed, 20)
        gate.set()
        closing.result()
    assert held.sent == 1
