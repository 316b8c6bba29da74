"""How many may wait for something that takes long, before another is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import busy


class Waiters:
    """At most `most` of them at a time. For the event loop's own thread."""

    def __init__(self, most: int, told: str, *, retry_seconds: int) -> None:
        """`told` says what they are and wait for, behind their number."""
        self._most, self._told, self._retry_seconds = most, told, retry_seconds
        self._count = 0

    @contextmanager
    def another(self) -> Iterator[None]:
        """One of them while the block runs, or `Overloaded`."""
        if self._count >= self._most:
            raise busy(f"{self._count} {self._told}", seconds=self._retry_seconds)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
