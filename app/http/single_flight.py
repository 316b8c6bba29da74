"""Reads shared by concurrent requests, at a fraction of the cost of a read for each.

A read is shared while it lasts and for a moment after it began, until this process writes anything. A request
therefore sees all earlier writes of this process (an alias moved here has moved), and those of other
processes within that moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

T = TypeVar("T")

CACHE_SECONDS = 0.1
"""How long other processes' writes may go unseen: one read per request costs more than a small network."""
_MOST_READS = 256


class _Read(NamedTuple, Generic[T]):
    """A read, when it began, and this process's write count at that time."""

    task: asyncio.Task[T]
    began: float
    written: int


class SingleFlight(Generic[T]):
    """Blocking reads by key, in the threads of `limiter`.
    Use it only in the event loop's thread.

    What is read is shared by several requests and must not be modified.
    `written` grows with each write of
    this process. A read is reused for `keep` seconds.
    """

    def __init__(
        self,
        limiter: CapacityLimiter,
        *,
        keep: float = 0.0,
        written: Callable[[], int] = int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter = limiter
        self._keep, self._written, self._clock = keep, written, clock
        self._reads: dict[Hashable, _Read[T]] = {}

    async def get(self, key: Hashable, read: Callable[[], T], limiter: CapacityLimiter | None = None) -> T:
        """Return (or raise) the outcome of `read`, or of an equal one that is fresh.
        `limiter`: instead of the usual one."""
        latest = self._reads.get(key)
        if latest is None or not self._is_fresh(latest):
            if len(self._reads) >= _MOST_READS:  # few can be fresh, and those are simply read again
                self._reads.clear()
            task = asyncio.create_task(run_sync(read, limiter=limiter or self._limiter))
            task.add_done_callback(_retrieve_exception)
            latest = self._reads[key] = _Read(task, self._clock(), self._written())
        return await asyncio.shield(latest.task)  # one cancelled request must not affect others

    def _is_fresh(self, read: _Read[T]) -> bool:
        if read.written != self._written():
            return False
        if not read.task.done():
            return True
        failed = read.task.cancelled() or read.task.exception() is not None
        return not failed and self._clock() - read.began < self._keep


def _retrieve_exception(task: asyncio.Task[T]) -> None:
    """If all requests have left, asyncio would log the exception as never retrieved."""
    if not task.cancelled():
        task.exception()
