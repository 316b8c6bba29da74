"""The cache of loaded pairs: one load for all who wait, a budget, the least used goes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.inference import Pair, StoredNetwork
from app.inference.cache import EngineCache
from core.errors import NotFound, Overloaded, Unavailable
from tests.unit.app.inference.doubles import EchoEngine

pytestmark = pytest.mark.anyio


def _pair(name: str, erm: str | None = None) -> Pair:
    return Pair(
        StoredNetwork(name, f"models/{name}"), None if erm is None else StoredNetwork(erm, f"models/{erm}")
    )


class Shelf:
    """Loads engines of 1000 bytes and remembers which; `gate` holds the loads back."""

    def __init__(self, **bounds: int) -> None:
        self.loads: list[Pair] = []
        self.gate = threading.Event()
        self.gate.set()
        self.cache = EngineCache(self.load, **bounds)

    def load(self, pair: Pair) -> EchoEngine:
        self.loads.append(pair)
        assert self.gate.wait(10)
        if pair.model.id == "missing":
            raise NotFound("it was deleted")
        return EchoEngine(nbytes=1000)


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _shelf(closing: ExitStack, **bounds: int) -> Shelf:
    shelf = Shelf(**{"max_bytes": 10_000} | bounds)
    closing.callback(shelf.cache.close)
    return shelf


async def test_many_who_ask_at_once_share_one_load(closing: ExitStack) -> None:
    shelf = _shelf(closing)
    engines = await asyncio.gather(*(shelf.cache.get(_pair("a")) for _ in range(20)))
    assert len({id(engine) for engine in engines}) == 1
    assert shelf.loads == [_pair("a")]


async def test_the_least_used_goes_first(closing: ExitStack) -> None:
    shelf = _shelf(closing, max_bytes=2000)
    for name in ("a", "b", "a", "c"):
        await shelf.cache.get(_pair(name))
    assert list(shelf.cache.engines) == [_pair("a"), _pair("c")]
    assert len(shelf.loads) == 3


async def test_one_model_over_the_budget_is_served_alone(closing: ExitStack) -> None:
    shelf = _shelf(closing, max_bytes=10)
    await shelf.cache.get(_pair("a"))
    await shelf.cache.get(_pair("b"))
    assert list(shelf.cache.engines) == [_pair("b")]


async def test_a_failed_load_is_told_to_each_and_tried_again(closing: ExitStack) -> None:
    shelf = _shelf(closing)
    for _ in range(2):
        with pytest.raises(NotFound):
            await shelf.cache.get(_pair("missing"))
    assert len(shelf.loads) == 2
    assert list(shelf.cache.engines) == []


async def test_a_client_that_leaves_does_not_take_the_load_away(closing: ExitStack) -> None:
    shelf = _shelf(closing)
    shelf.gate.clear()
    first = asyncio.create_task(shelf.cache.get(_pair("a")))
    second = asyncio.create_task(shelf.cache.get(_pair("a")))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    shelf.gate.set()
    assert (await second).nbytes == 1000
    assert len(shelf.loads) == 1


async def test_dropping_a_model_forgets_every_pair_with_it(closing: ExitStack) -> None:
    shelf = _shelf(closing)
    for pair in (_pair("tuned", "erm"), _pair("erm"), _pair("other")):
        await shelf.cache.get(pair)
    shelf.cache.drop("erm")
    assert list(shelf.cache.engines) == [_pair("other")]


async def test_a_model_that_is_dropped_while_it_loads_answers_who_waits_and_is_not_kept(
    closing: ExitStack,
) -> None:
    shelf = _shelf(closing)
    cache = shelf.cache
    shelf.gate.clear()
    waiting = [asyncio.create_task(cache.get(pair)) for pair in (_pair("tuned", "erm"), _pair("other"))]
    await asyncio.sleep(0)
    cache.drop("erm")
    shelf.gate.set()
    await asyncio.gather(*waiting)
    assert list(cache.engines) == [_pair("other")]
    await cache.get(_pair("tuned", "erm"))  # what is asked for later is a load of its own
    assert list(cache.engines) == [_pair("other"), _pair("tuned", "erm")]


async def test_only_so_many_wait_for_loads_and_others_are_told(closing: ExitStack) -> None:
    shelf = _shelf(closing, most_waiting=2)
    cache = shelf.cache
    shelf.gate.clear()
    waiting = [asyncio.create_task(cache.get(_pair(name))) for name in "ab"]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await cache.get(_pair("a"))
    assert int(refused.value.headers["Retry-After"]) >= 1
    waiting[0].cancel()  # who leaves makes room
    await asyncio.wait(waiting[:1])
    waiting.append(asyncio.create_task(cache.get(_pair("a"))))
    await asyncio.sleep(0)
    shelf.gate.set()
    assert len(await asyncio.gather(*waiting[1:])) == 2


async def test_a_load_may_be_begun_before_anybody_asks(closing: ExitStack) -> None:
    shelf = _shelf(closing)
    engine = shelf.cache.begin(_pair("a")).result(10)
    assert (await shelf.cache.get(_pair("a"))) is engine
    assert shelf.loads == [_pair("a")]


async def test_nothing_is_loaded_once_it_is_closed(closing: ExitStack) -> None:
    shelf = _shelf(closing)
    shelf.cache.close()
    with pytest.raises(Unavailable):
        await shelf.cache.get(_pair("a"))
    assert shelf.loads == []
