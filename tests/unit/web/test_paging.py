"""Lists are read as far as somebody looks, and no further."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from web.paging import Pager


class Source:
    """Numbers from 0; `read` says how many were asked for."""

    def __init__(self, count: int) -> None:
        self.count, self.read = count, 0

    async def entries(self) -> AsyncIterator[int]:
        for number in range(self.count):
            self.read += 1
            yield number


def test_the_first_page_reads_one_page_of_a_long_list() -> None:
    async def run() -> None:
        source = Source(100_000)
        pager = Pager(source.entries(), 10)
        assert await pager.page() == list(range(10))
        assert pager.more
        assert source.read == 11

    asyncio.run(run())


def test_pages_are_turned_both_ways_and_read_once() -> None:
    async def run() -> None:
        source = Source(25)
        pager = Pager(source.entries(), 10)
        await pager.page()
        assert await pager.turn(1) == list(range(10, 20))
        assert await pager.turn(1) == list(range(20, 25))
        assert not pager.more
        assert await pager.turn(1) == list(range(20, 25))
        assert await pager.turn(-1) == list(range(10, 20))
        assert await pager.turn(-5) == list(range(10))
        assert source.read == 25

    asyncio.run(run())


@pytest.mark.parametrize("count", [0, 10], ids=["empty", "full"])
def test_a_last_page_has_none_behind_it(count: int) -> None:
    async def run() -> None:
        pager = Pager(Source(count).entries(), 10)
        assert len(await pager.page()) == count
        assert not pager.more

    asyncio.run(run())
