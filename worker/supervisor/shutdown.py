"""Ends a worker that cannot stop on its own because its supervisors wait for an unresponsive database.

A blocked database call cannot be interrupted, and a process only ends with the last of its threads.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from worker.runtime import Runtime

logger = logging.getLogger(__name__)

_SECONDS = 8.0
"""Time from the end of the children to that of the worker; `masktune serve` kills it four seconds later."""


def end_in_time(runtime: Runtime) -> None:
    """Guarantee that this process and its children end in bounded time once the worker is told to stop."""
    threading.Thread(target=_watch, args=(runtime,), name="stop", daemon=True).start()


def _watch(runtime: Runtime) -> None:
    runtime.stopping.wait()
    time.sleep(runtime.settings.end_grace_seconds + _SECONDS)
    logger.error("the worker could not stop in time; its jobs are queued again when their leases run out")
    for child in list(runtime.children):
        child.kill()
    os._exit(1)
