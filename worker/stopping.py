"""The end of a worker that does not end by itself: its supervisors wait for a database that answers nothing.

No driver can be told to wait no longer, and a process ends with the last of its threads.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from worker.runtime import Runtime

logger = logging.getLogger(__name__)

_SECONDS = 8.0
"""From the end of the children to that of the worker. `masktune serve` kills it four seconds later."""


def end_in_time(runtime: Runtime) -> None:
    """See to it that this process ends, with all its children, in bounded time once it is told to stop."""
    threading.Thread(target=_watch, args=(runtime,), name="stop", daemon=True).start()


def _watch(runtime: Runtime) -> None:
    runtime.stopping.wait()
    time.sleep(runtime.settings.end_grace_seconds + _SECONDS)
    logger.error("the worker could not stop in time; its jobs are queued again when their leases run out")
    for child in list(runtime.children):
        child.kill()
    os._exit(1)
