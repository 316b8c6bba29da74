"""Tells the workers of a queued job, or of a pass over images that a job begins: a Celery message that only
says "look at the tables".

It may be lost or doubled: an idle worker looks at the tables anyway (`worker.slots`). Celery is imported only
where a broker's address is set.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger(__name__)

QUEUE = "masktune"
RUN_JOB = "masktune.run_job"


def make_celery(broker: str, *, socket_timeout: float = 5.0) -> Celery:
    """A Celery app that can publish; the worker adds its own settings."""
    from celery import Celery

    app = Celery("masktune", broker=broker, set_as_current=False)
    app.conf.update(
        broker_transport_options={
            # Without these, a publish to a hung Redis blocks forever.
            "socket_timeout": socket_timeout,
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
        },
        task_default_queue=QUEUE,
        task_ignore_result=True,  # job state is read from the database, not from a result backend
        task_serializer="json",
        accept_content=["json"],
        broker_connection_timeout=2.0,
    )
    return app


class JobNotifier:
    """Publishes on its own thread, so that callers never wait. Without a broker's address it does nothing."""

    def __init__(self, broker: str) -> None:
        self.celery = make_celery(broker, socket_timeout=1.0) if broker else None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="notifier")

    def notify(self, job_id: str) -> None:
        """Tell the workers to look, for a queued job or a new pass of one that runs.
        Returns at once; a broker that does not answer is only logged."""
        if self.celery is not None:
            self._pool.submit(self._publish, self.celery, job_id)

    def ping(self) -> None:
        """Raise if the broker does not answer."""
        if self.celery is not None:
            with self.celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=2)

    def close(self) -> None:
        """Wait for the message in progress; those behind it are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self.celery is not None:
            self.celery.close()

    def _publish(self, celery: Celery, job_id: str) -> None:
        from kombu.exceptions import OperationalError

        try:
            celery.send_task(RUN_JOB, args=(job_id,), retry_policy={"max_retries": 0})
        except (OperationalError, OSError) as error:
            logger.warning("job %s was not announced (%s); a worker finds it in the table", job_id, error)
