"""The Celery app of a worker, and the reason for every setting.

Celery only carries doorbells: no job state is stored in it or read from it.
"""

from __future__ import annotations

import logging
import threading
from types import MethodType
from typing import Any

from celery import Celery, bootsteps, signals
from celery.worker import state as celery_state

from core.notifications import make_celery
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
        # Acknowledge when a task starts. With late acknowledgement, Redis would deliver a job twice if it
        # runs longer than visibility_timeout. If a worker dies with a message, the lease expires and the
        # sweep rings again.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        # A busy worker must not prefetch a message that an idle one could take. Celery can disable
        # prefetching only on Redis; `_take_only_what_can_run` does the same for the folder broker.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=on_redis,
        # Wait for an unreachable broker without limit, at start-up and later: running jobs are unaffected.
        broker_connection_retry_on_startup=True,
        broker_connection_retry=True,
        broker_connection_max_retries=None,
        # Likewise for a read-only broker, such as a Redis that lost its role as master in a failover.
        broker_channel_error_retry=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
        # Threads suffice: a slot only waits for its child process, which holds the device. A prefork child
        # is daemonic, and daemonic processes may not start the data loader processes of a training.
        worker_pool="threads",
        worker_concurrency=runtime.settings.worker_slots,
        # Celery's own events and remote control are unused: jobs are watched through the API.
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        # The process configures its own log (stderr, `log_level`); the child's stdout carries messages.
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
        # Celery's warm shutdown waits for running tasks, so the supervisors must be told to end them.
        runtime.stopping.set()

    def keep_our_logging(**_: Any) -> None:
        """Do nothing: Celery leaves the logging alone as soon as this signal has a receiver."""

    signals.worker_shutting_down.connect(stop)
    signals.setup_logging.connect(keep_our_logging)
    worker = app.Worker(
        hostname=f"masktune@{runtime.name}",
        loglevel=runtime.settings.log_level.upper(),
        # These three exchange messages between workers; ours do not need to know of each other.
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    if runtime.stopping.is_set():
        return 0  # a requested stop (SIGTERM or Ctrl-C); Celery reports Ctrl-C as a failure
    return int(worker.exitcode or 0)


def _wake() -> None:
    """Do nothing: the timer that calls it wakes the event loop."""


def _take_only_what_can_run(stopping: threading.Event) -> type:
    """A consumer step that takes a message only while a slot is idle and the worker is not stopping."""

    class TakeOnlyWhatCanRun(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            qos = consumer.task_consumer.channel.qos
            may_consume = qos.can_consume

            def can_consume(_: Any) -> bool:
                if stopping.is_set() and consumer.hub is None:
                    # Without an event loop, Celery blocks for two seconds waiting for messages. A
                    # TimeoutError ends the wait, so that Celery notices the stop at once.
                    raise TimeoutError
                idle = len(celery_state.reserved_requests) < consumer.pool.num_processes
                return idle and not stopping.is_set() and bool(may_consume())

            qos.can_consume = MethodType(can_consume, qos)
            if consumer.hub is not None:
                # The event loop checks `can_consume` whenever it wakes, otherwise once a second. Without
                # this timer, a job posted just after another had ended waited 0.65 s at the median.
                consumer.hub.call_repeatedly(_WAKE_SECONDS, _wake)

    return TakeOnlyWhatCanRun
