"""The Celery app of a worker, and every setting with its reason.

Celery carries doorbells and nothing else: no state of a job is kept in or read from it.
"""

from __future__ import annotations

import logging
import threading
from types import MethodType
from typing import Any

from celery import Celery, bootsteps, signals
from celery.worker import state as celery_state

from core.queue import make_celery
from worker import tasks
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

_WAKE_SECONDS = 0.05


def make_worker(runtime: Runtime) -> Celery:
    """The app with its tasks, ready for `run`."""
    app = make_celery(runtime.settings.broker)
    on_redis = runtime.settings.broker.startswith(("redis", "sentinel"))
    app.conf.update(
        # The row is the truth about a job; a result would be a second, weaker one.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # Acknowledge when a task starts. Late, a job longer than Redis's visibility_timeout would be
        # delivered twice; a message lost with its worker costs the lease, and the sweep rings again.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        # A busy worker must not hoard the message that an idle one could take. Celery knows how for
        # Redis alone; `_take_only_what_can_run` does the same for the folder.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=on_redis,
        # A broker that is away, now or later, is waited for, and for ever: jobs that run go on meanwhile.
        broker_connection_retry_on_startup=True,
        broker_connection_retry=True,
        broker_connection_max_retries=None,
        # So is one that takes no writes, as a Redis that was the master before a failover.
        broker_channel_error_retry=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
        # Threads: a slot only waits for its child process, which holds the device. A prefork child
        # is daemonic, and a daemonic process may not start the loaders of a training.
        worker_pool="threads",
        worker_concurrency=runtime.settings.worker_slots,
        # Nobody watches Celery's own events or asks its remote control: the API tells of jobs.
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        # The log is the process's own (stderr, `log_level`), and the child's stdout is a protocol.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    app.steps["consumer"].add(_take_only_what_can_run(runtime.stopping))
    tasks.register(app, runtime)
    return app


def run(runtime: Runtime) -> int:
    """Work until SIGTERM or Ctrl-C; returns the exit code."""
    app = make_worker(runtime)

    def stop(**_: Any) -> None:
        # Celery's warm shutdown waits for its tasks; the supervisors must be told to end theirs.
        runtime.stopping.set()

    def keep_our_logging(**_: Any) -> None:
        """A receiver is all it takes for Celery to leave the log alone."""

    signals.worker_shutting_down.connect(stop)
    signals.setup_logging.connect(keep_our_logging)
    worker = app.Worker(
        hostname=f"masktune@{runtime.name}",
        loglevel=runtime.settings.log_level.upper(),
        # What these three say goes between workers that need to know of each other; ours do not.
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    if runtime.stopping.is_set():
        return 0  # asked to, by SIGTERM or Ctrl-C; Celery calls the latter a failure
    return int(worker.exitcode or 0)


def _wake() -> None:
    """Being called is all it is for."""


def _take_only_what_can_run(stopping: threading.Event) -> type:
    """A step of the consumer: it takes a message only while a slot is idle and the worker goes on."""

    class TakeOnlyWhatCanRun(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            qos = consumer.task_consumer.channel.qos
            may_consume = qos.can_consume

            def can_consume(_: Any) -> bool:
                if stopping.is_set() and consumer.hub is None:
                    # Without an event loop a wait for messages lasts two seconds, whatever happens:
                    # what Celery takes for the end of a wait lets it see at once that it should stop.
                    raise TimeoutError
                idle = len(celery_state.reserved_requests) < consumer.pool.num_processes
                return idle and not stopping.is_set() and bool(may_consume())

            qos.can_consume = MethodType(can_consume, qos)
            if consumer.hub is not None:
                # The event loop asks again whether it may consume when it wakes, else once a second:
                # a job posted just after another had ended waited 0.65 s at the median.
                consumer.hub.call_repeatedly(_WAKE_SECONDS, _wake)

    return TakeOnlyWhatCanRun
