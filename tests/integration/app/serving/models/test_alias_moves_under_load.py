"""An alias that moves and a memory that is too small, under load: nothing fails, no answer is a mix."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from app.inference import Engine, Pair
from core.queries import registry
from tests.integration.app.serving.conftest import PNG, World, furnished, picture

PICTURES = 6
CLIENTS = 8


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[World]:
    """A world whose memory holds one pair at a time."""
    with furnished(tmp_path, models_in_memory_bytes=1) as world:
        yield world


async def _post(http: httpx2.AsyncClient, model: str, number: int) -> httpx2.Response:
    return await http.post("/predict", params={"model": model}, content=picture(number), headers=PNG)


class Load:
    """Clients that ask for one name without a pause, and what they were told."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.statuses: set[int] = set()
        self.told: list[tuple[int, dict[str, Any]]] = []

    async def ask(self, model: str, number: int) -> dict[str, Any]:
        """What a model says of a picture; whatever happened is noted."""
        answer = await _post(self._http, model, number)
        self.statuses.add(answer.status_code)
        body: dict[str, Any] = answer.json()
        if answer.status_code == 200:
            self.told.append((number, body))
        return body

    def answers(self, model: str) -> int:
        """How many answers this model has given."""
        return sum(body["model"] == model for _, body in self.told)

    @asynccontextmanager
    async def on(self, *models: str) -> AsyncIterator[None]:
        """`CLIENTS` for each name while the block runs."""
        stop = asyncio.Event()

        async def client(model: str, number: int) -> None:
            while not stop.is_set():
                await self.ask(model, number % PICTURES)
                number += 1

        clients = [asyncio.create_task(client(model, n)) for model in models for n in range(CLIENTS)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*clients)


def _signature(body: dict[str, Any]) -> tuple[Any, ...]:
    """What tells the models apart: labels of both halves, and the score to five digits."""
    (prediction,) = body["predictions"]
    agreement = prediction["agreement"]
    return prediction["label"], agreement["erm"], agreement["model"], round(prediction["score"], 5)


def test_a_move_under_load_fails_nobody_and_mixes_nothing(fresh_world: World) -> None:
    world = fresh_world

    async def run() -> None:
        async with world.http() as http:
            load = Load(http)
            models = [world.model, world.control, world.erm]
            expected = {
                (model, n): _signature(await load.ask(model, n)) for model in models for n in range(PICTURES)
            }
            load.told.clear()
            await http.put("/aliases/champion", json={"model": models[0]})
            async with load.on("champion"):
                move = 0
                while move < 12 or len(load.told) <= 100:
                    move += 1
                    moved = models[move % 3]
                    assert (await http.put("/aliases/champion", json={"model": moved})).status_code == 200
                    # Who asks after the move is answered by where it points now.
                    assert (await load.ask("champion", 0))["model"] == moved
                    await asyncio.sleep(0.05)
            assert load.statuses == {200}
            assert {body["model"] for _, body in load.told} == set(models)
            for number, body in load.told:
                label, erm, own, score = _signature(body)
                wanted = expected[body["model"], number]
                assert (label, erm, own) == wanted[:3]
                assert score == pytest.approx(wanted[3], abs=2e-5)
            assert len({expected[model, 0] for model in models}) == 3  # else a mix could not be seen

    world.in_the_loop(run)


def test_more_models_than_fit_in_memory_are_all_answered(cramped: World) -> None:
    world = cramped

    async def run() -> None:
        async with world.http() as http:
            load = Load(http)
            models = (world.model, world.control, world.erm)
            async with load.on(*models):
                while any(load.answers(model) < 2 * CLIENTS for model in models):
                    await asyncio.sleep(0.05)
            assert load.statuses == {200}
            assert len(world.services.inference.cache.engines) == 1

    world.in_the_loop(run)


PLACES = 16


class Slow(NamedTuple):
    """A world with few places, in which no further model is loaded until `may_load`."""

    world: World
    may_load: threading.Event


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    """A model and its alias are in memory."""
    may_load = threading.Event()
    with furnished(tmp_path, predict_in_flight=PLACES) as world:
        world.client.put("/aliases/champion", json={"model": world.model})
        for model in ("champion", world.erm):
            assert world.post(picture(0), model=model).status_code == 200
        cache = world.services.inference.cache
        load = cache._load

        def slowly(pair: Pair) -> Engine:
            assert may_load.wait(60)
            return load(pair)

        cache._load = slowly
        yield Slow(world, may_load)


@pytest.mark.parametrize("requests", [4, 60])
def test_a_model_that_is_loaded_at_its_first_request_keeps_no_other_from_answers(
    slow: Slow, requests: int
) -> None:
    """As where another replica moved the alias. A few requests are all answered once it is there."""
    world = slow.world
    with world.services.database.begin() as session:
        registry.move_alias(session, "champion", world.control)

    async def run() -> None:
        async with world.http() as http:
            champion, erm = Load(http), Load(http)
            tasks = [asyncio.create_task(champion.ask("champion", n % PICTURES)) for n in range(requests)]
            while sum(not task.done() for task in tasks) > PLACES // 2:  # so many may wait for a load
                await asyncio.sleep(0.01)
            for number in range(PICTURES):
                await erm.ask(world.erm, number)
            slow.may_load.set()
            await asyncio.gather(*tasks)
        assert erm.statuses == {200}
        assert champion.statuses == ({200, 503} if requests > PLACES else {200})
        assert champion.answers(world.control) == len(champion.told)

    world.in_the_loop(run)
