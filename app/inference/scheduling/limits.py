"""Limits of what requests may hold: waits for something slow, and bytes of encoded images in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


Reserve = Callable[[int], None]
"""Reserves that many more bytes for a request, or raises `Overloaded`."""


class ImageMemory:
    """Counts the bytes that requests hold. Use it only in the event loop's thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    @contextmanager
    def share(self) -> Iterator[Reserve]:
        """Yield the function that reserves memory for one request; all of it is released with the block.

        A request that is alone may reserve any number of bytes.
        """
        own = 0

        def reserve(count: int) -> None:
            nonlocal own
            if self.held > own and self.held + count > self.most:
                raise busy("the memory is full of other requests' images", seconds=_RETRY_SECONDS)
            self.held += count
            own += count

        try:
            yield reserve
        finally:
            self.held -= own
