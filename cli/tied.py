"""A process that must not outlive the one that started it."""

from __future__ import annotations

import os
import signal
import threading

GRACE = 15.0
"""Seconds that a clean end may take once the parent is gone."""


def end_with_parent() -> None:
    """Watch standard input, a pipe from the parent: at its end, SIGTERM to ourselves, at last SIGKILL."""
    threading.Thread(target=_watch, name="parent-watch", daemon=True).start()


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
