"""The forward pass behind /readyz. It costs as much as a prediction, so a success is cached for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

KEPT_SECONDS = 30.0


class ForwardCheck:
    """Runs the check unless it passed within the last `KEPT_SECONDS`; failures are not cached."""

    def __init__(self, run: Callable[[], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._passed_at = float("-inf")

    def __call__(self) -> None:
        if self._clock() - self._passed_at > KEPT_SECONDS:
            self._run()
            self._passed_at = self._clock()
