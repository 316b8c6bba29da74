"""Reads that requests share: as fresh as one of their own, at a fraction of the cost.

An idle reader starts at once; requests that come while it reads share the next read, which begins after
all of them have come. So nobody is told what was true before they asked (an alias that was moved is
moved), and 32 clients who ask for the same model cost a few reads, not 32.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

T = TypeVar("T")


class Shared(Generic[T]):
    """Blocking reads by key, in the threads of `limiter`. For the event loop's own thread.

    What is read is handed to several requests: it must not be changed.
    """

    def __init__(self, limiter: CapacityLimiter) -> None:
        self._limiter = limiter
        self._reading: dict[Hashable, asyncio.Task[T]] = {}
        self._next: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` returns or raises, begun after this call."""
        coming = self._next.get(key)
        if coming is None:
            coming = self._next[key] = asyncio.create_task(self._read(key, read))
            coming.add_done_callback(_heard)
        return await asyncio.shield(coming)  # one who leaves does not take it from the others

    async def _read(self, key: Hashable, read: Callable[[], T]) -> T:
        before, own = self._reading.get(key), self._next[key]
        if before is not None:
            await asyncio.wait((before,))
        del self._next[key]
        self._reading[key] = own
        try:
            return await run_sync(read, limiter=self._limiter)
        finally:
            if self._reading.get(key) is own:
                del self._reading[key]


def _heard(task: asyncio.Task[T]) -> None:
    """Those who asked may all have left: asyncio complains of a failure that nobody was told."""
    if not task.cancelled():
        task.exception()
