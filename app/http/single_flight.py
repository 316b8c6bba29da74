"""Reads shared by concurrent requests, at a fraction of the cost of a read for each.

An idle reader starts at once. Requests that arrive during a read share the next one, which begins after they
have arrived. A value is cached for a moment, until this process writes anything. A request therefore sees all
earlier writes of this process (an alias moved here has moved), and those of other processes within that
moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

T = TypeVar("T")


KEPT_SECONDS = 0.1
"""How long other processes' writes may go unseen: one read per request costs more than a small network."""
_AHEAD = 0.7
"""Share of that time after which the value is read again in advance, since a busy process reads slowly."""
_MOST_KEPT = 256


class _Kept(NamedTuple, Generic[T]):
    """A value, when its read began, and this process's write count at that time."""

    value: T
    begun: float
    written: int


def _unwritten() -> int:
    return 0


class Shared(Generic[T]):
    """Blocking reads by key, in the threads of `limiter`. Use it only in the event loop's thread.

    Values are shared by several requests and must not be modified. `written` grows with each write of this
    process. A value is reused for `keep` seconds.
    """

    def __init__(
        self,
        limiter: CapacityLimiter,
        *,
        keep: float = 0.0,
        written: Callable[[], int] = _unwritten,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter = limiter
        self._keep, self._written, self._clock = keep, written, clock
        self._kept: dict[Hashable, _Kept[T]] = {}
        self._reading: dict[Hashable, asyncio.Task[T]] = {}
        self._next: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return (or raise) the result of a `read` that begins after this call, or a cached value."""
        kept = self._kept.get(key)
        if kept is not None and self._written() == kept.written:
            age = self._clock() - kept.begun
            if age < self._keep:
                if age > _AHEAD * self._keep and key not in self._reading:
                    self._begin(key, read)
                return kept.value
        return await asyncio.shield(self._begin(key, read))  # one cancelled request must not affect others

    def _begin(self, key: Hashable, read: Callable[[], T]) -> asyncio.Task[T]:
        """Return the next read, which may already be scheduled."""
        coming = self._next.get(key)
        if coming is None:
            coming = self._next[key] = asyncio.create_task(self._read(key, read))
            coming.add_done_callback(_heard)
        return coming

    async def _read(self, key: Hashable, read: Callable[[], T]) -> T:
        before, own = self._reading.get(key), self._next[key]
        if before is not None:
            await asyncio.wait((before,))
        del self._next[key]
        self._reading[key] = own
        begun, written = self._clock(), self._written()
        try:
            value = await run_sync(read, limiter=self._limiter)
            self._store(key, _Kept(value, begun, written))
            return value
        finally:
            if self._reading.get(key) is own:
                del self._reading[key]

    def _store(self, key: Hashable, kept: _Kept[T]) -> None:
        if not self._keep:
            return
        if len(self._kept) >= _MOST_KEPT:  # few can be fresh, and those are simply read again
            self._kept.clear()
        self._kept[key] = kept


def _heard(task: asyncio.Task[T]) -> None:
    """Mark the exception as retrieved: if all requests have left, asyncio would log it as never retrieved."""
    if not task.cancelled():
        task.exception()
