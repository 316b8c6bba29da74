"""Quick engines: run on the event loop itself, all that came in two turns of it as one batch.

Two threads that share one interpreter on two cores make each other slow (its objects move from core to
core with the lock): a network that is done before a thread would have woken is better run where the request
is. What may run here is bounded, so that the loop is never away for long (`QUICK_SECONDS`, `MOST`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from app.inference.batcher import Ask, run
from app.inference.shapes import Engine, Scores

MOST = 16
"""Images that are run in one turn; more wait for the next, behind what came in meanwhile."""
QUICK_SECONDS = 0.002
"""An engine is quick when it runs `MOST` images in this time."""
_TRIES = 5


def is_quick(engine: Engine, images: NDArray[np.uint8]) -> bool:
    """Measured with these images (n, 3, S, S): the best of some tries, another program may want the cores."""
    batch = np.resize(images, (MOST, *images.shape[1:]))
    best = float("inf")
    for _ in range(_TRIES):
        began = time.perf_counter()
        engine.run(batch, None)
        best = min(best, time.perf_counter() - began)
    return best <= QUICK_SECONDS


class Turns:
    """For the thread of the running event loop."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Ask, asyncio.Future[Scores]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    def submit(self, ask: Ask) -> asyncio.Future[Scores]:
        """Run it in the next turn of the loop but one, with what else is there by then."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # nobody waits on one that has ended
            self._waiting.clear()
            self._loop = loop
        answer: asyncio.Future[Scores] = loop.create_future()
        self._waiting.append((ask, answer))
        if len(self._waiting) == 1:
            # What came with it over other connections is handed in during this turn or the next. Together
            # they cost a fifth less: without the second, 8 clients would be two halves that take turns.
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
        """The next in line that share an engine and are still wanted."""
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
