"""Ends a worker that cannot stop on its own because its supervisors wait for an unresponsive database."""

from __future__ import annotations

import threading

from core.process import exit_after
from worker.runtime import Runtime

_SECONDS = 8.0
"""Time from the end of the children to that of the worker; `masktune serve` kills it four seconds later."""
_MESSAGE = "the worker could not stop in time; its jobs are queued again when their leases run out"


def end_in_time(runtime: Runtime) -> None:
    """Guarantee that this process and its children end in bounded time once the worker is told to stop."""

    def kill_children() -> None:
        for child in list(runtime.children):
            child.kill()

    def watch() -> None:
        runtime.stopping.wait()
        exit_after(runtime.settings.end_grace_seconds + _SECONDS, _MESSAGE, last=kill_children)

    threading.Thread(target=watch, name="stop", daemon=True).start()
