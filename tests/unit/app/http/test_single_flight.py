"""Shared reads: fewer than requests, and fresh after every write of this process."""

from __future__ import annotations

import asyncio
import threading

import pytest
from anyio import CapacityLimiter

from app.http.single_flight import SingleFlight
from core.errors import NotFound

pytestmark = pytest.mark.anyio


class Source:
    """A value that changes; each read waits at the gate, and gives what the value was when it began."""

    def __init__(self) -> None:
        self.value = 0
        self.reads = 0
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def read(self) -> int:
        seen = self.value
        self.reads += 1
        self.begun.set()
        assert self.gate.wait(10)
        if seen < 0:
            raise NotFound("gone")
        return seen


async def test_who_asks_at_once_shares_a_read() -> None:
    source, shared = Source(), SingleFlight[int](CapacityLimiter(4))
    assert await asyncio.gather(*(shared.get("a", source.read) for _ in range(20))) == [0] * 20
    assert source.reads == 1


async def test_keys_do_not_wait_for_each_other() -> None:
    slow, quick, shared = Source(), Source(), SingleFlight[int](CapacityLimiter(4))
    slow.gate.clear()
    waiting = asyncio.create_task(shared.get("a", slow.read))
    assert await asyncio.to_thread(slow.begun.wait, 10)
    assert await shared.get("b", quick.read) == 0
    slow.gate.set()
    await waiting


async def test_a_failure_reaches_everybody_and_is_not_kept() -> None:
    source, shared = Source(), SingleFlight[int](CapacityLimiter(4))
    source.value = -1
    found = await asyncio.gather(*(shared.get("a", source.read) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [NotFound] * 3
    source.value = 4
    assert await shared.get("a", source.read) == 4


async def test_one_who_leaves_does_not_take_the_read_along() -> None:
    source, shared = Source(), SingleFlight[int](CapacityLimiter(4))
    source.gate.clear()
    leaves, stays = (asyncio.create_task(shared.get("a", source.read)) for _ in range(2))
    assert await asyncio.to_thread(source.begun.wait, 10)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    source.gate.set()
    assert await stays == 0


async def test_what_was_read_is_kept_for_a_moment_and_until_something_is_written_here() -> None:
    now, written, source = 0.0, 0, Source()
    shared = SingleFlight[int](CapacityLimiter(4), keep=0.1, written=lambda: written, clock=lambda: now)

    async def reads() -> int:
        await shared.get("a", source.read)
        return source.reads

    assert [await reads(), await reads()] == [1, 1]
    written += 1
    assert [await reads(), await reads()] == [2, 2]
    now += 0.11
    assert [await reads(), await reads()] == [3, 3]


async def test_a_write_during_the_read_makes_it_stale() -> None:
    written, source = 0, Source()

    def read() -> int:
        nonlocal written
        value = source.read()
        written += 1  # it may or may not be in what was read
        return value

    shared = SingleFlight[int](CapacityLimiter(4), keep=60.0, written=lambda: written)
    await shared.get("a", read)
    await shared.get("a", source.read)
    assert source.reads == 2
