"""Limits of what requests may hold: waits for something slow, and bytes of encoded images in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from core.errors import busy

_RETRY_SECONDS = 1


class Waiters:
    """Admits at most `most` waiters at a time. Use it only in the event loop's thread."""

    def __init__(self, most: int, what: str, *, retry_seconds: int) -> None:
        """`what` follows the number of waiters in the error message."""
        self._most, self._what, self._retry_seconds = most, what, retry_seconds
        self._count = 0

    @contextmanager
    def another(self) -> Iterator[None]:
        """Count as a waiter while the block runs, or raise `Overloaded`."""
        if self._count >= self._most:
            raise busy(f"{self._count} {self._what}", seconds=self._retry_seconds)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


class ImageMemory:
    """Counts the bytes that requests hold (`share`). Use it only in the event loop's thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def share(self) -> Share:
        """Return one request's share, to be used as a context manager."""
        return Share(self)


class Share:
    """The memory of one request; released when the block ends."""

    __slots__ = ("_held", "_memory")

    def __init__(self, memory: ImageMemory) -> None:
        self._memory = memory
        self._held = 0

    def take(self, count: int) -> None:
        """Reserve `count` more bytes, or raise `Overloaded`. A request that is alone may take any number."""
        memory = self._memory
        if memory.held > self._held and memory.held + count > memory.most:
            raise busy("the memory is full of other requests' images", seconds=_RETRY_SECONDS)
        memory.held += count
        self._held += count

    def __enter__(self) -> Share:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._memory.held -= self._held
        self._held = 0
