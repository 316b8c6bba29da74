"""Lists that are longer than a page, fetched with the API's cursors only as far as they are viewed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


async def first(entries: AsyncIterator[T], most: int) -> list[T]:
    """The first `most` entries of a list, fetching no more pages than needed."""
    page: list[T] = []
    async for entry in entries:
        page.append(entry)
        if len(page) == most:
            break
    return page


class Pager(Generic[T]):
    """Pages of `size` entries of a list that is read on demand. Entries that were read are kept.

    One extra entry is read to find out whether there is another page.
    """

    def __init__(self, entries: AsyncIterator[T], size: int) -> None:
        self.size = size
        self.number = 0
        """Number of the current page, from 0."""
        self._entries = entries
        self._read_entries: list[T] = []

    async def page(self) -> list[T]:
        """The entries of the current page."""
        start = self.number * self.size
        unread = start + self.size + 1 - len(self._read_entries)
        if unread > 0:
            self._read_entries += await first(self._entries, unread)
        return self._read_entries[start : start + self.size]

    @property
    def more(self) -> bool:
        """Whether there is a next page. Valid once the current page has been read."""
        return len(self._read_entries) > (self.number + 1) * self.size

    async def turn(self, by: int) -> list[T]:
        """Go one page forward (1) or back (-1); at either end, stay on the current page."""
        if by < 0 or self.more:
            self.number = max(0, self.number + by)
        return await self.page()
