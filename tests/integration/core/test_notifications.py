"""The notifier: without a broker, beside one, beside one that does not answer, and at its end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from core.notifications import QUEUE, JobNotifier
from tests.support.brokers import redis_server
from tests.support.waits import wait_until


def test_without_a_broker_there_is_nobody_to_notify_and_nothing_to_fail() -> None:
    with closing(JobNotifier("")) as notifier:
        notifier.notify("job_1")
        notifier.ping()
    assert notifier.celery is None


def test_a_job_is_one_message_of_the_queue(tmp_path: Path) -> None:
    with redis_server(tmp_path) as (broker, _), closing(JobNotifier(broker)) as notifier:
        notifier.ping()
        notifier.notify("job_1")
        notifier._pool.submit(int).result()
        assert notifier.celery is not None
        with notifier.celery.connection_for_read() as connection:
            queue = notifier.celery.amqp.queues[QUEUE].bind(connection.default_channel)
            assert queue.queue_declare().message_count == 1


def test_a_broker_that_does_not_answer_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    with closing(JobNotifier("redis://127.0.0.1:1/0")) as notifier:
        notifier.notify("job_1")
        notifier._pool.submit(int).result()
    assert "job job_1 was not announced" in caplog.text


class Held(Celery):  # type: ignore[misc]  # celery has no types
    """A broker that takes no message until the gate opens."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__(set_as_current=False)
        self.gate, self.sent = gate, 0

    def send_task(self, *args: Any, **kwargs: Any) -> None:
        self.gate.wait(60)
        self.sent += 1


def test_closing_awaits_one_message_and_not_all() -> None:
    gate = threading.Event()
    notifier = JobNotifier("redis://127.0.0.1:1/0")
    notifier.celery = held = Held(gate)
    for _ in range(50):
        notifier.notify("job_1")

    def closed() -> bool:
        try:
            notifier.notify("job_2")
        except RuntimeError:
            return True
        return False

    with ThreadPoolExecutor() as pool:
        closing = pool.submit(notifier.close)
        wait_until(closed)
        gate.set()
        closing.result()
    assert held.sent == 1
