"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 180.0
"""Seconds. No test measures time by this: it is how long a machine with other things to do may take."""


def wait_until(
    condition: Callable[[], bool], describe: Callable[[], str] = str, *, seconds: float = PATIENCE
) -> None:
    """Poll until `condition` is true; `describe` says what is there instead.

    Raises AssertionError after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {describe()}"
        time.sleep(0.02)
