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

import numpy as np
from numpy.typing import NDArray

from app.inference.types import Engine, Explain, Scores
from core.errors import busy, shutting_down

_BATCH_SECONDS = 0.25
_LEAST_BATCH = 8
"""Smallest limit of a batch when `_BATCH_SECONDS` is exceeded; on a CPU, 8 images are as efficient as 64."""
_ALWAYS = 2
"""Number of requests that may wait however many images they have."""


@dataclass(frozen=True, eq=False)
class ForwardRequest:
    """One request to an engine, with all its images, (n, 3, S, S) uint8, and the future of their scores."""

    engine: Engine
    images: NDArray[np.uint8]
    explain: Explain | None = None
    features: bool = False
    scores: Future[Scores] = field(default_factory=Future)


@dataclass(eq=False)
class Reservation:
    """Places in the queue for a request whose images are being decoded."""

    images: int
    held: bool = True


class Batcher:
    """One thread that runs engines, and the bounded queue before it.
    Thread-safe.

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
        self._queue: deque[ForwardRequest] = deque()
        self._images = self._requests = 0  # that have places, in the queue or still being decoded
        self._busy = False
        self._closed = False
        self._seconds_per_image = 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Images waiting for the engine, those being decoded included."""
        return self._images

    @contextmanager
    def reserve(self, images: int) -> Iterator[Reservation]:
        """Reserve places for images before they are decoded, or raise `Overloaded`.

        Decoding may take longer than the engine, and without a reservation its backlog would be unbounded.
        """
        reservation = Reservation(images)
        with self._changed:
            self._check(images)
            self._images += images
            self._requests += 1
        try:
            yield reservation
        finally:
            with self._changed:
                if reservation.held:
                    self._free_places(images)

    def submit(self, request: ForwardRequest, reservation: Reservation | None = None) -> Future[Scores]:
        """Queue the request in its reserved places; without a reservation it may raise `Overloaded`.

        Cancelling the future removes the request from the queue.
        """
        with self._changed:
            if reservation is None:
                self._check(len(request.images))
                self._images += len(request.images)
                self._requests += 1
            elif self._closed:
                raise shutting_down()
            else:
                reservation.held = False
            self._queue.append(request)
            if not self._busy:  # a busy thread checks the queue anyway, and a wake-up is not cheap
                self._changed.notify()
        # Not given the request: held by its own future's callbacks it is a cycle, which `gc.freeze` keeps for
        # good, its engine with it, if a model is loaded while the request is answered.
        request.scores.add_done_callback(self._drop_cancelled)
        return request.scores

    def close(self) -> None:
        """Accept no more requests, answer the accepted ones, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _check(self, images: int) -> None:
        if self._closed:
            raise shutting_down()
        # A request larger than the whole queue is accepted if nothing else is waiting.
        wait = self._images * self._seconds_per_image
        few = self._images <= self._max_batch // 2 or self._requests < _ALWAYS
        late = wait > self._max_seconds and not few
        if self._images and (late or self._images + images > self._max_waiting):
            seconds = max(1, round(wait + 0.5))
            raise busy(f"{self._images} images are already waiting for the engine", seconds=seconds)

    def _free_places(self, images: int) -> None:
        self._images -= images
        self._requests -= 1

    def _work(self) -> None:
        """Run the thread."""
        while self._run_batch():
            pass  # a call of its own, so that a batch is not kept in memory while the next is awaited

    def _run_batch(self) -> bool:
        """Wait for the next batch, run and answer it. False once the queue is closed and empty."""
        with self._changed:
            while not (batch := self._next_batch()) and not self._closed:
                self._busy = False
                self._changed.wait()
            self._busy = bool(batch)
        if not batch:
            return False
        began = time.perf_counter()
        outcomes = run(batch, self._max_batch)
        took = (time.perf_counter() - began) / sum(len(request.images) for request in batch)
        self._seconds_per_image += 0.2 * (took - self._seconds_per_image)
        for request, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                request.scores.set_exception(outcome)
            else:
                request.scores.set_result(outcome)
        return True

    def _next_batch(self) -> list[ForwardRequest]:
        """Take the oldest request and later ones for the same engine, as many as fit one batch."""
        limit = self._max_batch
        if self._seconds_per_image:  # larger batches gain a slow engine nothing and delay the next requests
            limit = min(limit, max(_LEAST_BATCH, int(_BATCH_SECONDS / self._seconds_per_image)))
        batch: list[ForwardRequest] = []
        later: deque[ForwardRequest] = deque()
        images = 0
        while self._queue:
            request = self._queue.popleft()
            count = len(request.images)
            if batch and (request.engine is not batch[0].engine or images + count > limit):
                later.append(request)
                continue
            self._free_places(count)
            if request.scores.set_running_or_notify_cancel():
                batch.append(request)
                images += count
        self._queue = later
        return batch

    def _drop_cancelled(self, scores: Future[Scores]) -> None:
        """Remove the request of these scores, if it was cancelled and is still in the queue."""
        if not scores.cancelled():
            return
        with self._changed:
            request = next((request for request in self._queue if request.scores is scores), None)
            if request is not None:
                self._queue.remove(request)
                self._free_places(len(request.images))


def run(batch: Sequence[ForwardRequest], max_batch: int) -> list[Scores | BaseException]:
    """Call the engine once for each `explain` in the batch; return scores or errors in request order."""
    kinds: dict[Explain | None, list[int]] = {}
    for number, request in enumerate(batch):
        kinds.setdefault(request.explain, []).append(number)
    outcomes: dict[int, Scores | BaseException] = {}
    for numbers in kinds.values():
        try:
            scores = _scores([batch[n] for n in numbers], max_batch)
        except BaseException as error:  # noqa: BLE001  # any error is passed on to the requests
            outcomes.update(dict.fromkeys(numbers, error))
            continue
        if len(numbers) == 1:
            outcomes[numbers[0]] = scores
            continue
        first = 0
        for n in numbers:
            last = first + len(batch[n].images)
            outcomes[n] = scores.rows(first, last)
            first = last
    return [outcomes[n] for n in range(len(batch))]


def _scores(requests: Sequence[ForwardRequest], max_batch: int) -> Scores:
    """The scores of requests to one engine with the same `explain`, with features if any has asked."""
    first, images = requests[0], [request.images for request in requests]
    together = images[0] if len(images) == 1 else np.concatenate(images)
    features = any(request.features for request in requests)
    # A single request may be larger than a batch; several together never are.
    pieces = [together[i : i + max_batch] for i in range(0, len(together), max_batch)]
    return Scores.joined([first.engine.run(piece, first.explain, features=features) for piece in pieces])
