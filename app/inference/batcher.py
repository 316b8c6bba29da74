"""Micro-batches without a wait: an idle engine starts at once, a busy one then takes what has gathered.

A fixed wait of 2 ms costs a lone client five times its rate; the engine's own work is wait enough.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.inference.shapes import Engine, Explain, Scores
from core.errors import Overloaded, Unavailable


@dataclass(frozen=True, eq=False)
class Ask:
    """What one request wants of an engine: all of its images, (n, 3, S, S) uint8."""

    engine: Engine
    images: NDArray[np.uint8]
    explain: Explain | None = None
    answer: Future[Scores] = field(default_factory=Future)


class Batcher:
    """One thread that runs engines, and the bounded queue before it. It may be used from any thread.

    A request stays whole: its images go through in one batch. One that is cancelled while it
    waits frees its place at once.
    """

    def __init__(
        self, *, max_batch: int, max_waiting: int, max_seconds: float = math.inf, name: str = "engine"
    ) -> None:
        """`max_waiting` images, or as many as take `max_seconds` by the pace of late, may wait.

        Half a batch may wait however slow the engine is: it is answered together.
        """
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_seconds = max_seconds
        self._queue: deque[Ask] = deque()
        self._waiting = 0  # images in the queue
        self._coming = 0  # images that have a place in it and are being decoded
        self._busy = False
        self._closed = False
        self._seconds_per_image = 0.0
        self._changed = threading.Condition()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    @property
    def waiting(self) -> int:
        """Images that wait for the engine now."""
        return self._waiting

    def check(self, images: int) -> None:
        """Raise `Overloaded` where there is no room for so many now; no place is kept."""
        with self._changed:
            self._check(images)

    @contextmanager
    def room(self, images: int) -> Iterator[None]:
        """Keep places for images that are still to be decoded, or raise `Overloaded` before they are.

        Decoding may take longer than the engine: without it, requests would gather there unbounded. To
        be left just before `submit`.
        """
        with self._changed:
            self._check(images)
            self._coming += images
        try:
            yield
        finally:
            with self._changed:
                self._coming -= images

    def submit(self, ask: Ask) -> Future[Scores]:
        """Queue the request, or raise `Overloaded`. Cancelling the future takes it out again."""
        with self._changed:
            self._check(len(ask.images))
            self._queue.append(ask)
            self._waiting += len(ask.images)
            if not self._busy:
                self._start()
        ask.answer.add_done_callback(partial(self._forget, ask))
        return ask.answer

    def close(self) -> None:
        """Answer what was accepted, accept nothing more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._busy)
        self._thread.shutdown()

    def _check(self, images: int) -> None:
        if self._closed:
            raise Unavailable("the service is shutting down; ask another replica, or again in a moment")
        # A request larger than the whole queue still gets its turn when nobody waits.
        held = self._waiting + self._coming
        wait = held * self._seconds_per_image
        late = held > self._max_batch // 2 and wait > self._max_seconds
        if held and (late or held + images > self._max_waiting):
            seconds = max(1, round(wait + 0.5))
            raise Overloaded(
                f"{held} images wait for the engine already; try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )

    def _start(self) -> None:
        """Hand the next batch to the thread. The lock is held."""
        batch = self._take()
        self._busy = bool(batch)
        if batch:
            running = self._thread.submit(_run, batch, self._max_batch)
            running.add_done_callback(partial(self._deliver, batch, time.perf_counter()))
        else:
            self._changed.notify_all()

    def _take(self) -> list[Ask]:
        """The oldest request and those behind it for the same engine, as many as fit one batch."""
        batch: list[Ask] = []
        left: deque[Ask] = deque()
        images = 0
        while self._queue:
            ask = self._queue.popleft()
            fits = not batch or (
                ask.engine is batch[0].engine and images + len(ask.images) <= self._max_batch
            )
            if not fits:
                left.append(ask)
                continue
            self._waiting -= len(ask.images)
            if ask.answer.set_running_or_notify_cancel():
                batch.append(ask)
                images += len(ask.images)
        self._queue = left
        return batch

    def _deliver(self, batch: list[Ask], began: float, done: Future[list[Scores]]) -> None:
        """In the engine's thread, after each batch: start the next, then answer those who wait."""
        images = sum(len(ask.images) for ask in batch)
        with self._changed:
            took = (time.perf_counter() - began) / images
            self._seconds_per_image += 0.2 * (took - self._seconds_per_image)
            self._start()
        error = done.exception()
        for number, ask in enumerate(batch):
            if error is None:
                ask.answer.set_result(done.result()[number])
            else:
                ask.answer.set_exception(error)

    def _forget(self, ask: Ask, answer: Future[Scores]) -> None:
        """Take a cancelled request out of the queue, if it is still there."""
        if not answer.cancelled():
            return
        with self._changed:
            if ask in self._queue:
                self._queue.remove(ask)
                self._waiting -= len(ask.images)


def _run(batch: Sequence[Ask], max_batch: int) -> list[Scores]:
    """One call of the engine for each kind of question in the batch; the answers in its order."""
    kinds: dict[Explain | None, list[int]] = {}
    for number, ask in enumerate(batch):
        kinds.setdefault(ask.explain, []).append(number)
    answers: dict[int, Scores] = {}
    for explain, numbers in kinds.items():
        images = np.concatenate([batch[n].images for n in numbers])
        # One request may be larger than a batch; several together never are.
        pieces = [images[i : i + max_batch] for i in range(0, len(images), max_batch)]
        engine = batch[numbers[0]].engine
        scores = Scores.joined([engine.run(piece, explain) for piece in pieces])
        first = 0
        for n in numbers:
            last = first + len(batch[n].images)
            answers[n] = scores.rows(first, last)
            first = last
    return [answers[n] for n in range(len(batch))]
