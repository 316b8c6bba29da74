"""Ends a process when its parent has ended."""

from __future__ import annotations

import os
import signal
import threading

GRACE = 15.0
"""Seconds for a graceful shutdown once the parent is gone."""


def end_with_parent() -> None:
    """Watch standard input, a pipe from the parent. When it closes, SIGTERM this process, then SIGKILL it."""
    threading.Thread(target=_watch, name="parent-watch", daemon=True).start()


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
