"""Admission: what the requests for predictions and saliency maps of a process may hold at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.inference.scheduling.batcher import Batcher, Reservation
from core.errors import busy

_RETRY_SECONDS = 1
_SLOW_SECONDS = 2.0
_STANDING_SECONDS = 0.1
"""Refusals that go on for this long are no longer a burst, and answers that take this long have queued."""
_CALM_SECONDS = 1.0
"""Overload is over after this long without a refusal: the last refused client would have retried by now."""


class Admission:
    """Counts the requests in flight and admits `most` at a time; then each enters once more with its images.

    While overload lasts longer than a burst and answers are late, it admits a third as many: a standing queue
    delays every answer and adds no throughput (Nichols and Jacobson, Controlling Queue Delay, 2012). Behind a
    small network no answer is late, and fewer requests would leave the engine idle. Use it only in the event
    loop's thread.
    """

    def __init__(self, most: int, most_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """At most `most_bytes` of encoded images may be in memory."""
        self.most, self.most_bytes = most, most_bytes
        self._few = (most + 2) // 3
        self.in_flight = 0
        """Places in use."""
        self.slow_bodies = 0
        """Requests that have given up their places while their bodies are slow to arrive."""
        self.slow_seconds = _SLOW_SECONDS
        """How long a body may take before it counts as slow."""
        self.held_bytes = 0
        """Bytes of encoded images in memory."""
        self._clock = clock
        self._refusing_since = self._refused_at = float("-inf")
        self._seconds = 0.0
        """How long those who entered have taken of late."""

    @property
    def full(self) -> bool:
        """Whether no request is admitted now."""
        return self.in_flight >= self.most or (self.in_flight >= self._few and self._is_standing())

    def note_refusal(self) -> None:
        now = self._clock()
        if now - self._refused_at >= _CALM_SECONDS:
            self._refusing_since = now
        self._refused_at = now

    @contextmanager
    def without_place(self) -> Iterator[None]:
        """Give up a request's place while the block runs; afterwards take it again, however many are in use.

        For a request that waits for something other than an engine, and whose body is complete. The block
        itself must limit how many requests wait in it.
        """
        self.in_flight -= 1
        try:
            yield
        finally:
            self.in_flight += 1

    @contextmanager
    def enter(self, queue: Batcher, images: int, nbytes: int) -> Iterator[Reservation]:
        """Enter with that many images, of `nbytes` together: they have places in the queue and in memory
        until the block ends. Raises `Overloaded`.

        A request that is alone may have any number of bytes.
        """
        if self.held_bytes and self.held_bytes + nbytes > self.most_bytes:
            raise busy("the memory is full of other requests' images", seconds=_RETRY_SECONDS)
        with queue.reserve(images) as reservation:
            self.held_bytes += nbytes
            entered = self._clock()
            try:
                yield reservation
            finally:
                self.held_bytes -= nbytes
                self._seconds += 0.1 * (self._clock() - entered - self._seconds)

    def _is_standing(self) -> bool:
        """Whether answers are late, and refusals have lasted longer than a burst and are still going on."""
        refusing = self._refused_at - self._refusing_since
        standing = min(refusing, self._seconds) >= _STANDING_SECONDS
        return standing and self._clock() - self._refused_at < _CALM_SECONDS
