"""Ctrl-C just before a call that waits."""

from __future__ import annotations

import ctypes
import signal
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from operator import call

import pytest

from masktune.cli.session import prompt_signals

WAIT_SECONDS = 60.0
"""How long the call waits where no signal ends it; it ends with another error then."""


def test_a_signal_just_before_a_call_that_waits_ends_it() -> None:
    """One loop in C makes both calls: Python has no instruction in between at which it could act."""
    signal_in_c: Callable[[int], int] = getattr(ctypes.CDLL(None), "raise")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a job of the background
    waiting, silent = socket.socketpair()
    waiting.settimeout(WAIT_SECONDS)
    calls: list[Callable[[], object]] = [partial(signal_in_c, signal.SIGINT), partial(waiting.recv, 1)]
    try:
        with silent, waiting, pytest.raises(KeyboardInterrupt) as ended, prompt_signals():
            deque(map(call, calls), maxlen=0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.__context__ is None  # no error of a wait that went to its end


def test_the_timer_of_others_is_as_before() -> None:
    def handler(*_: object) -> None: ...

    before = signal.signal(signal.SIGALRM, handler)
    timer = signal.setitimer(signal.ITIMER_REAL, 1000.0, 500.0)
    try:
        with prompt_signals():
            assert signal.getsignal(signal.SIGALRM) is not handler
        assert signal.getsignal(signal.SIGALRM) is handler
        first, interval = signal.getitimer(signal.ITIMER_REAL)
        assert 500 < first <= 1000
        assert interval == 500
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)
