"""Lists that are longer than a page: fetched by the API's cursors, only as far as somebody looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


async def first(entries: AsyncIterator[T], most: int) -> list[T]:
    """So many entries of a list at most; no page of it is fetched for more."""
    found: list[T] = []
    async for entry in entries:
        found.append(entry)
        if len(found) == most:
            break
    return found


class Pager(Generic[T]):
    """Pages of `size` entries of a list that is read on demand. Those that were seen are kept.

    One entry more than a page is read, to know whether there is another page.
    """

    def __init__(self, entries: AsyncIterator[T], size: int) -> None:
        self.size = size
        self.number = 0
        """Of the page that is shown, from 0."""
        self._entries = entries
        self._seen: list[T] = []
        self._exhausted = False

    async def page(self) -> list[T]:
        """The entries of the present page."""
        start = self.number * self.size
        await self._read(start + self.size + 1)
        return self._seen[start : start + self.size]

    @property
    def more(self) -> bool:
        """Whether there is a page behind the present one, once that was read."""
        return len(self._seen) > (self.number + 1) * self.size

    async def turn(self, by: int) -> list[T]:
        """One page on (1) or back (-1); at either end it stays where it is."""
        if by < 0 or self.more:
            self.number = max(0, self.number + by)
        return await self.page()

    async def _read(self, count: int) -> None:
        while len(self._seen) < count and not self._exhausted:
            try:
                self._seen.append(await anext(self._entries))
            except StopAsyncIteration:
                self._exhausted = True
