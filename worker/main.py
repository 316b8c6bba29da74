"""One worker, until SIGTERM: `masktune worker`."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import closing

from core import logs
from core.process import exit_after
from core.settings import Settings
from core.telemetry import open_tracing
from worker.runtime import Runtime
from worker.slots import running_slots
from worker.supervisor.sweeper import sweeping

logger = logging.getLogger(__name__)

_WAIT, _WAIT_BESIDE_BROKER = 0.2, 1.0
"""Seconds between two looks of an idle slot at the table.
Beside a broker, a message ends the wait."""
_SIGNAL_SECONDS = 1.0
"""Time at most after which a signal is noticed."""
_END_SECONDS = 8.0
"""Time from the end of the children to that of the worker; `masktune serve` kills it four seconds later."""


def main(settings: Settings) -> int:
    """Serve jobs from a database that is up to date, until SIGTERM, which gives running jobs back.

    Returns the exit code.
    """
    logs.setup(settings.log_level, settings.log_format)
    tracing = open_tracing(settings, "masktune-worker")
    with closing(Runtime.open(settings, tracing=tracing)) as runtime:
        return serve(runtime)


def serve(runtime: Runtime) -> int:
    """Work and sweep until SIGTERM; returns the exit code."""
    _end_in_time(runtime)
    _exit_on_signal()
    beside_broker = bool(runtime.settings.broker_url)
    with sweeping(runtime), running_slots(runtime, wait=_WAIT_BESIDE_BROKER if beside_broker else _WAIT):
        logger.info(
            "worker %s is ready: slots for jobs: %d, for imports: %d",
            runtime.name,
            runtime.settings.worker_slots,
            runtime.settings.import_slots,
        )
        if beside_broker:
            from worker.celery import run  # takes a third of a second; not needed without a broker

            run(runtime)
            return 0
        while True:  # the system may hand a signal to another thread, and then it ends no wait of this one
            time.sleep(_SIGNAL_SECONDS)


def _end_in_time(runtime: Runtime) -> None:
    """Guarantee that this process and its children end in bounded time once the worker is told to stop.

    It cannot stop on its own while its supervisors wait for an unresponsive database.
    """

    def kill_children() -> None:
        for child in list(runtime.children):
            child.kill()

    def watch() -> None:
        runtime.stopping.wait()
        exit_after(
            runtime.settings.end_grace_seconds + _END_SECONDS,
            "the worker could not stop in time; its jobs are queued again when their leases run out",
            last=kill_children,
        )

    threading.Thread(target=watch, name="stop", daemon=True).start()


def _exit_on_signal() -> None:
    """Raise SystemExit at the first SIGTERM or Ctrl-C, until Celery has handlers of its own."""

    def end(*_: object) -> None:
        for number in signals:
            signal.signal(number, lambda *_: None)  # a second one must not cut the end of the slots short
        raise SystemExit(0)

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        signal.signal(number, end)
