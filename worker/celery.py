"""The Celery app of a worker beside a broker, and the reason for every setting.

Celery wakes the slots: no job state is stored in it or read from it.
"""

from __future__ import annotations

import logging
import time

from celery import Celery, signals

from core.notifications import QUEUE, RUN_JOB, make_celery
from worker.runtime import Runtime

logger = logging.getLogger(__name__)


def make_worker(runtime: Runtime) -> Celery:
    """The app with its task, ready for `run`."""
    app = make_celery(runtime.settings.broker_url)
    app.conf.update(
        # Wait for an unreachable broker without limit, at start-up and later: the slots look at the table.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Likewise for a read-only broker, such as a Redis that lost its role as master in a failover.
        broker_channel_error_retry=True,
        # The consumer's own thread runs the task, which only wakes the slots.
        worker_pool="solo",
        # Celery's own events and remote control are unused: jobs are watched through the API.
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        # The process configures its own log (stderr, `log_level`); the child's stdout carries messages.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )

    # Not `shared`: it would be a task of every other app of this process too.
    @app.task(name=RUN_JOB, shared=False)  # type: ignore[untyped-decorator]  # celery has no types
    def run_job(job_id: str) -> None:
        """Wake the idle slots. The job in the message, or its pass, may have ended by now."""
        runtime.wakeup.call()

    return app


def run(runtime: Runtime) -> None:
    """Wake the slots until SIGTERM or Ctrl-C, whatever is in the queue."""
    app = make_worker(runtime)

    def stop(**_: object) -> None:
        runtime.stopping.set()

    def keep_our_logging(**_: object) -> None:
        """Do nothing: Celery leaves the logging alone as soon as this signal has a receiver."""

    for name in ("celery.worker.strategy", "celery.app.trace"):  # they have a line for each message
        logging.getLogger(name).setLevel(logging.ERROR)
    signals.worker_shutting_down.connect(stop)
    signals.setup_logging.connect(keep_our_logging)
    while not runtime.stopping.is_set():
        worker = app.Worker(
            hostname=f"masktune@{runtime.name}",
            queues=[QUEUE],
            loglevel=runtime.settings.log_level.upper(),
            # These three exchange messages between workers; ours do not need to know of each other.
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()
        if not runtime.stopping.is_set():
            # An entry of the queue that is no message of Celery's ends its consumer, and is gone then.
            logger.warning("Celery's consumer ended; it starts again in a second")
            time.sleep(1.0)  # a wait for `stopping` could deadlock: signals set it on this thread
