"""Reads that requests share: as fresh as one of their own, at a fraction of the cost.

An idle reader starts at once; requests that come while it reads share the next read, which begins after
all of them have come. What was read is kept for a moment, until this process writes anything. So nobody is
told what was true before they asked, where this process wrote it (an alias that was moved here is moved);
what another process wrote is seen within that moment.
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
"""How long another process's writes may go unseen: a read a request costs more than a small network."""
_AHEAD = 0.7
"""The share of that after which it is read again ahead of time: a busy process takes long to read."""
_MOST_KEPT = 256


class _Kept(NamedTuple, Generic[T]):
    """What was read, when that began, and what had been written here by then."""

    value: T
    begun: float
    written: int


def _unwritten() -> int:
    return 0


class Shared(Generic[T]):
    """Blocking reads by key, in the threads of `limiter`. For the event loop's own thread.

    What is read is handed to several requests: it must not be changed. `written` grows with each write of
    this process; `keep` seconds, a read stands for those that follow.
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
        """What `read` returns or raises, begun after this call; or what was kept."""
        kept = self._kept.get(key)
        if kept is not None and self._written() == kept.written:
            age = self._clock() - kept.begun
            if age < self._keep:
                if age > _AHEAD * self._keep and key not in self._reading:
                    self._begin(key, read)
                return kept.value
        return await asyncio.shield(self._begin(key, read))  # one who leaves does not take it from the others

    def _begin(self, key: Hashable, read: Callable[[], T]) -> asyncio.Task[T]:
        """The read that begins next, which may be there already."""
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
        if len(self._kept) >= _MOST_KEPT:  # few of them can be fresh, and they are read again
            self._kept.clear()
        self._kept[key] = kept


def _heard(task: asyncio.Task[T]) -> None:
    """Those who asked may all have left: asyncio complains of a failure that nobody was told."""
    if not task.cancelled():
        task.exception()
