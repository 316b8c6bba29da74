"""Micro-batching without a delay: an idle engine starts at once, a busy one then takes what has queued up.

A fixed delay of 2 ms would cut a lone client's rate to a fifth; requests queue up while the engine works.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.inference.types import Engine, Explain, Scores
from core.errors import busy, shutting_down
from models.selective import score_inputs

_BATCH_SECONDS = 0.25
_LEAST_BATCH = 8
"""Smallest limit of a batch when `_BATCH_SECONDS` is exceeded; on a CPU, 8 images are as efficient as 64."""


_ALWAYS = 2
"""Number of requests that may wait however many images they have."""


@dataclass(frozen=True, eq=False)
class Ask:
    """One request to an engine, with all its images, (n, 3, S, S) uint8."""

    engine: Engine
    images: NDArray[np.uint8]
    explain: Explain | None = None


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A request in the queue, and the future of its scores."""

    ask: Ask
    answer: Future[Scores] = field(default_factory=Future)

    @property
    def images(self) -> int:
        return len(self.ask.images)


@dataclass(eq=False)
class Room:
    """Places in the queue reserved for a request whose images are being decoded."""

    images: int
    kept: bool = True


class Batcher:
    """One thread that runs engines, and the bounded queue before it. Thread-safe.

    A request is not split: its images go through in one batch. A request that is cancelled while it waits
    frees its places at once.
    """

    def __init__(
        self, *, max_batch: int, max_waiting: int, max_seconds: float = math.inf, name: str = "engine"
    ) -> None:
        """At most `max_waiting` images may wait, and no more than take `max_seconds` at the recent rate.

        However slow the engine is, half a batch may always wait, because it is answered together. So may two
        requests of any size, so that one client's large request cannot shut out another's.
        """
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_seconds = max_seconds
        self._queue: deque[_Waiting] = deque()
        self._waiting = 0  # images in the queue
        self._coming = 0  # images with reserved places that are being decoded
        self._decoding = 0  # the requests of those images
        self._busy = False
        self._closed = False
        self._seconds_per_image = 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Images waiting for the engine."""
        return self._waiting

    def check(self, images: int) -> None:
        """Raise `Overloaded` if there is no room for this many images; reserves nothing."""
        with self._changed:
            self._check(images)

    @contextmanager
    def room(self, images: int) -> Iterator[Room]:
        """Reserve places for images before they are decoded, or raise `Overloaded`.

        Decoding may take longer than the engine, and without a reservation its backlog would be unbounded.
        """
        room = Room(images)
        with self._changed:
            self._check(images)
            self._coming += images
            self._decoding += 1
        try:
            yield room
        finally:
            with self._changed:
                self._leave(room)

    def submit(self, ask: Ask, room: Room | None = None) -> Future[Scores]:
        """Queue the request in the places reserved for it; without a reservation it may raise `Overloaded`.

        Cancelling the future removes the request from the queue.
        """
        waiting = _Waiting(ask)
        with self._changed:
            if room is None:
                self._check(waiting.images)
            else:
                self._check_open()
                self._leave(room)
            self._queue.append(waiting)
            self._waiting += waiting.images
            if not self._busy:  # a busy thread checks the queue anyway, and a wake-up is not cheap
                self._changed.notify()
        waiting.answer.add_done_callback(partial(self._forget, waiting))
        return waiting.answer

    def close(self) -> None:
        """Accept no more requests, answer the accepted ones, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _leave(self, room: Room) -> None:
        if room.kept:
            room.kept = False
            self._coming -= room.images
            self._decoding -= 1

    def _check_open(self) -> None:
        if self._closed:
            raise shutting_down()

    def _check(self, images: int) -> None:
        self._check_open()
        # A request larger than the whole queue is accepted if nothing else is waiting.
        held = self._waiting + self._coming
        wait = held * self._seconds_per_image
        few = held <= self._max_batch // 2 or len(self._queue) + self._decoding < _ALWAYS
        late = wait > self._max_seconds and not few
        if held and (late or held + images > self._max_waiting):
            raise busy(f"{held} images are already waiting for the engine", seconds=max(1, round(wait + 0.5)))

    def _work(self) -> None:
        """Run the thread."""
        while self._answer_batch():
            pass  # a call of its own, so that a batch is not kept in memory while the next is awaited

    def _answer_batch(self) -> bool:
        """Wait for the next batch, run and answer it. False once the queue is closed and empty."""
        batch = self._next()
        if not batch:
            return False
        began = time.perf_counter()
        outcomes = run([waiting.ask for waiting in batch], self._max_batch)
        took = (time.perf_counter() - began) / sum(waiting.images for waiting in batch)
        self._seconds_per_image += 0.2 * (took - self._seconds_per_image)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                waiting.answer.set_exception(outcome)
            else:
                waiting.answer.set_result(outcome)
        return True

    def _next(self) -> list[_Waiting]:
        """Wait for the next batch. Empty once the queue is closed and everything is answered."""
        with self._changed:
            while not (batch := self._take()) and not self._closed:
                self._busy = False
                self._changed.wait()
            self._busy = bool(batch)
            return batch

    def _limit(self) -> int:
        """Limit of images in a batch: larger ones gain a slow engine nothing and delay the next requests."""
        if not self._seconds_per_image:
            return self._max_batch
        return min(self._max_batch, max(_LEAST_BATCH, int(_BATCH_SECONDS / self._seconds_per_image)))

    def _take(self) -> list[_Waiting]:
        """Take the oldest request and later ones for the same engine, as many as fit one batch."""
        batch: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        images, limit = 0, self._limit()
        while self._queue:
            waiting = self._queue.popleft()
            more = images + waiting.images
            if batch and (waiting.ask.engine is not batch[0].ask.engine or more > limit):
                left.append(waiting)
                continue
            self._waiting -= waiting.images
            if waiting.answer.set_running_or_notify_cancel():
                batch.append(waiting)
                images = more
        self._queue = left
        return batch

    def _forget(self, waiting: _Waiting, answer: Future[Scores]) -> None:
        """Remove a cancelled request from the queue, if it is still there."""
        if not answer.cancelled():
            return
        with self._changed:
            if waiting in self._queue:
                self._queue.remove(waiting)
                self._waiting -= waiting.images


def run(batch: Sequence[Ask], max_batch: int) -> list[Scores | BaseException]:
    """Call the engine once for each `explain` in the batch; return scores or errors in request order."""
    kinds: dict[Explain | None, list[int]] = {}
    for number, ask in enumerate(batch):
        kinds.setdefault(ask.explain, []).append(number)
    outcomes: dict[int, Scores | BaseException] = {}
    for explain, numbers in kinds.items():
        try:
            scores = _scores(batch[numbers[0]].engine, [batch[n].images for n in numbers], explain, max_batch)
        except BaseException as error:  # noqa: BLE001  # any error is passed on to the requests
            outcomes.update(dict.fromkeys(numbers, error))
            continue
        first = 0
        for n in numbers:
            last = first + len(batch[n].images)
            outcomes[n] = scores.rows(first, last)
            first = last
    return [outcomes[n] for n in range(len(batch))]


def _scores(
    engine: Engine, images: Sequence[NDArray[np.uint8]], explain: Explain | None, max_batch: int
) -> Scores:
    together = images[0] if len(images) == 1 else np.concatenate(images)
    # A single request may be larger than a batch; several together never are.
    pieces = [together[i : i + max_batch] for i in range(0, len(together), max_batch)]
    scores = Scores.joined([engine.run(piece, explain) for piece in pieces])
    return scores._replace(judged=score_inputs(scores.logits, scores.erm_logits))
