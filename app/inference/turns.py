"""Runs quick engines on the event loop itself, with the requests of two turns of the loop as one batch.

Two threads that share one interpreter on two cores slow each other down, because its objects move between the
cores with the lock. A network that finishes before a thread would have woken is better run in the loop's
thread. `QUICK_SECONDS` and `MOST` limit how long it may block the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from app.inference.scheduling.batcher import Ask, run
from app.inference.types import Engine, Scores

MOST = 16
"""Limit of images in one turn; the rest waits for a later turn, after other work of the loop."""
QUICK_SECONDS = 0.002
"""An engine is quick if it runs `MOST` images in this time."""
_TRIES = 5


def is_quick(engine: Engine, images: NDArray[np.uint8]) -> bool:
    """Time the engine on images (n, 3, S, S): the best of several tries, as other programs may interfere."""
    batch = np.resize(images, (MOST, *images.shape[1:]))
    best = float("inf")
    for _ in range(_TRIES):
        began = time.perf_counter()
        engine.run(batch, None)
        best = min(best, time.perf_counter() - began)
    return best <= QUICK_SECONDS


class Turns:
    """Queue of requests for quick engines. Use it only in the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Ask, asyncio.Future[Scores]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """Number of requests that wait for their turn."""
        return len(self._waiting)

    def submit(self, ask: Ask) -> asyncio.Future[Scores]:
        """Run the request two turns of the loop later, together with others that arrive by then."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the previous loop has ended, and with it everything that waited
            self._waiting.clear()
            self._loop = loop
        answer: asyncio.Future[Scores] = loop.create_future()
        self._waiting.append((ask, answer))
        if len(self._waiting) == 1:
            # Simultaneous requests on other connections arrive in this turn or the next. As one batch they
            # cost a fifth less; without the second turn, 8 clients would split into two alternating halves.
            loop.call_soon(loop.call_soon, self._turn)
        return answer

    def _turn(self) -> None:
        batch = self._take()
        outcomes = run([ask for ask, _ in batch], MOST)
        for (_, answer), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)
        if self._waiting and self._loop is not None:
            self._loop.call_soon(self._turn)

    def _take(self) -> list[tuple[Ask, asyncio.Future[Scores]]]:
        """Take the next requests that share an engine, skipping cancelled ones."""
        batch: list[tuple[Ask, asyncio.Future[Scores]]] = []
        images = 0
        while self._waiting:
            ask, answer = self._waiting[0]
            if batch and (ask.engine is not batch[0][0].engine or images + len(ask.images) > MOST):
                break
            self._waiting.popleft()
            if not answer.cancelled():
                batch.append((ask, answer))
                images += len(ask.images)
        return batch
