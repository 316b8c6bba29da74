"""A limit of how many requests may wait for something slow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import busy


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
