"""Ctrl-C ends a command at any moment, also just before a call that waits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHECK_SECONDS = 0.25
"""Seconds after which a signal that did not end a waiting call ends it."""


@contextmanager
def prompt_signals() -> Iterator[None]:
    """Have Python act on a signal within `CHECK_SECONDS`, whatever the main thread waits for.

    Python notes a signal when it comes and acts on it between two instructions; a signal during a system call
    ends the call. One that comes between the last instruction and the call would be noted only, and the call
    would wait on, for a silent stream of events until its timeout. A timer's signal, which does nothing, ends
    such a call; one without anything noted goes on by itself (PEP 475). Windows has no such timer.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGALRM, lambda *_: None)
    timer = signal.setitimer(signal.ITIMER_REAL, CHECK_SECONDS, CHECK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)
