"""The doorbell: a Celery message with a job's id that only says "look". It may be lost or duplicated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from kombu.exceptions import OperationalError

from core import folder_broker

logger = logging.getLogger(__name__)

QUEUE = "masktune"
RUN_JOB = "masktune.run_job"
SWEEP = "masktune.sweep"


def make_celery(broker: str, *, socket_timeout: float = 5.0) -> Celery:
    """A Celery app that can publish; the worker adds its own settings."""
    options: dict[str, Any] = {
        # Without these, a publish to a hung Redis blocks forever.
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": 2.0,
        "socket_keepalive": True,
    }
    if broker.startswith(folder_broker.SCHEME + ":"):
        folder_broker.register()
        options = folder_broker.options(Path(urlsplit(broker).path))
        broker = f"{folder_broker.SCHEME}://localhost/"
    app = Celery("masktune", broker=broker, set_as_current=False)
    app.conf.update(
        broker_transport_options=options,
        task_default_queue=QUEUE,
        task_ignore_result=True,  # job state is read from the database, not from a result backend
        task_serializer="json",
        accept_content=["json"],
        broker_connection_timeout=2.0,
    )
    return app


class Doorbell:
    """Publishes on its own thread, so that callers never wait; a ring that fails is left to the sweep."""

    def __init__(self, broker: str) -> None:
        self.celery = make_celery(broker, socket_timeout=1.0)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="doorbell")

    def ring(self, job_id: str) -> None:
        """Tell the workers to look. Returns at once and never raises."""
        self._pool.submit(self._publish, job_id)

    def ring_again(self, job_ids: Sequence[str]) -> None:
        """Announce these jobs again, until the queue holds as many unread messages as there are jobs.

        A worker that reads one message runs jobs until none is left, so more messages are not needed. Without
        this limit, 100 waiting jobs, announced every half-minute, grew the queue by 288,000 messages a day.
        """
        self._pool.submit(self._fill_up, job_ids)

    def waiting(self) -> int:
        """The number of unread messages. Raises `OperationalError` if the broker does not answer."""
        with self.celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            try:
                queue = self.celery.amqp.queues[QUEUE].bind(connection.default_channel)
                return int(queue.queue_declare().message_count)
            except connection.recoverable_connection_errors as error:
                raise OperationalError(str(error)) from error

    def ping(self) -> None:
        """Raise if the broker does not answer."""
        with self.celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)

    def close(self) -> None:
        """Wait for the ring in progress; those queued behind it are left to the sweep."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.celery.close()

    def _fill_up(self, job_ids: Sequence[str]) -> None:
        try:
            waiting = self.waiting()
        except (OperationalError, OSError) as error:
            logger.warning("%d jobs were not announced again (%s); the sweep will", len(job_ids), error)
            return
        for job_id in job_ids[waiting:]:
            if not self._publish(job_id):
                break  # the broker is unreachable: the others would time out one by one

    def _publish(self, job_id: str) -> bool:
        try:
            self.celery.send_task(RUN_JOB, args=(job_id,), retry_policy={"max_retries": 0})
        except (OperationalError, OSError) as error:
            logger.warning("job %s was not announced (%s); the sweep will", job_id, error)
            return False
        return True
