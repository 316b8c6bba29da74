"""Results from threads: each to the one who waits, in any loop, and to nobody who has left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from app.inference.scheduling.wakeups import awaited


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def test_each_gets_its_own_in_any_loop(threads: ThreadPoolExecutor) -> None:
    async def run() -> list[int]:
        return await asyncio.gather(*(awaited(threads.submit(pow, n, 2)) for n in range(200)))

    for _ in range(2):
        assert asyncio.run(run()) == [n * n for n in range(200)]


def test_a_failure_is_its_own(threads: ThreadPoolExecutor) -> None:
    async def run() -> list[object]:
        asked = [awaited(threads.submit(divmod, 1, n)) for n in (1, 0, 2)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    one, failure, two = asyncio.run(run())
    assert (one, two) == ((1, 0), (0, 1))
    assert isinstance(failure, ZeroDivisionError)


def test_one_who_leaves_takes_what_nobody_has_begun_along() -> None:
    async def run() -> None:
        future: Future[int] = Future()
        asked = awaited(future)
        asked.cancel()
        await asyncio.sleep(0)
        assert future.cancelled()

    asyncio.run(run())


def test_a_future_that_is_cancelled_elsewhere_cancels_the_wait() -> None:
    async def run() -> None:
        future: Future[int] = Future()
        asked = awaited(future)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(run())


def test_a_result_after_its_loop_has_ended_harms_nobody(threads: ThreadPoolExecutor) -> None:
    go = threading.Event()

    async def run() -> None:
        awaited(late)

    late = threads.submit(go.wait, 10)
    asyncio.run(run())
    go.set()
    assert late.result(10)

    async def again() -> int:
        return await awaited(threads.submit(pow, 2, 3))

    assert asyncio.run(again()) == 8
