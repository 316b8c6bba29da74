"""An alias that moves and a memory that is too small, under load: nothing fails, no answer is a mix."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.inference import Engine, Pair
from app.main import create_app
from core.queries import registry
from core.settings import Settings
from tests.integration.app.conftest import LOCAL
from tests.integration.app.serving.conftest import World, _furnished, picture

PICTURES = 6
CLIENTS = 8


@pytest.fixture
def cramped(tmp_path: Path) -> Any:
    """A world whose memory holds one pair at a time."""
    with _opened(tmp_path, models_in_memory_bytes=1) as world:
        yield world


@contextmanager
def _opened(folder: Path, **settings: Any) -> Iterator[World]:
    app = create_app(Settings(data_dir=folder, threads=1, engine="torch", **settings))
    with TestClient(app, LOCAL) as client:
        yield _furnished(client, app)


class Load:
    """Clients that ask for one name without a pause, and what they were told."""

    def __init__(self, world: World, http: httpx.AsyncClient) -> None:
        self._world, self._http = world, http
        self.statuses: set[int] = set()
        self.told: list[tuple[int, dict[str, Any]]] = []

    async def ask(self, model: str, number: int) -> dict[str, Any]:
        """What a model says of a picture; whatever happened is noted."""
        answer = await self._http.post(
            "/predict",
            params={"model": model},
            content=picture(number),
            headers={"Content-Type": "image/png"},
        )
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


@asynccontextmanager
async def _load(world: World) -> AsyncIterator[tuple[Load, httpx.AsyncClient]]:
    transport = httpx.ASGITransport(world.app)
    async with httpx.AsyncClient(transport=transport, base_url=LOCAL, timeout=60) as http:
        yield Load(world, http), http


def _signature(body: dict[str, Any]) -> tuple[Any, ...]:
    """What tells the models apart: labels of both halves, and the score to five digits."""
    (prediction,) = body["predictions"]
    agreement = prediction["agreement"]
    return prediction["label"], agreement["erm"], agreement["masktune"], round(prediction["score"], 5)


def _in_the_loop(world: World, run: Any) -> None:
    assert world.client.portal is not None
    world.client.portal.call(run)


def test_a_move_under_load_fails_nobody_and_mixes_nothing(fresh_world: World) -> None:
    world = fresh_world

    async def run() -> None:
        async with _load(world) as (load, http):
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

    _in_the_loop(world, run)


def test_more_models_than_fit_in_memory_are_all_answered(cramped: World) -> None:
    world = cramped

    async def run() -> None:
        async with _load(world) as (load, _):
            models = (world.model, world.control, world.erm)
            async with load.on(*models):
                while any(load.answers(model) < 2 * CLIENTS for model in models):
                    await asyncio.sleep(0.05)
            assert load.statuses == {200}
            assert len(world.services.inference.cache.engines) == 1

    _in_the_loop(world, run)


LOAD_SECONDS = 1.0


@pytest.fixture
def slow(tmp_path: Path) -> Any:
    """A world with few places, where a load takes its time once the model and its alias are in memory."""
    with _opened(tmp_path, predict_in_flight=16) as world:
        client = world.client
        client.put("/aliases/champion", json={"model": world.model})
        for model in ("champion", world.erm):
            asked = client.post(
                "/predict",
                params={"model": model},
                content=picture(0),
                headers={"Content-Type": "image/png"},
            )
            assert asked.status_code == 200
        cache = world.services.inference.cache
        load = cache._load

        def slowly(pair: Pair) -> Engine:
            time.sleep(LOAD_SECONDS)
            return load(pair)

        cache._load = slowly
        yield world


class Told(Counter[tuple[str, int]]):
    """How often (name, status) was an answer; clients that do not wait for one before they ask again."""

    async def ask(self, load: Load, name: str, rate: float, seconds: float) -> None:
        async def one(number: int) -> None:
            answer = await load._http.post(
                "/predict",
                params={"model": name},
                content=picture(number % PICTURES),
                headers={"Content-Type": "image/png"},
            )
            self[name, answer.status_code] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                group.create_task(one(number))
                await asyncio.sleep(1 / rate)


async def _open_loop(world: World, *, rate: float, move: Any) -> Told:
    """What those are told who ask for the alias, `rate` times a second, and for another model; it moves."""
    told = Told()
    async with _load(world) as (load, http), asyncio.TaskGroup() as group:
        group.create_task(told.ask(load, "champion", rate, 2.5))
        group.create_task(told.ask(load, world.erm, 20, 2.5))
        await asyncio.sleep(0.5)
        await move(http)
    return told


@pytest.mark.parametrize("rate", [2, 30])
def test_a_model_that_is_loaded_at_its_first_request_keeps_no_other_from_answers(
    slow: World, rate: float
) -> None:
    """As where another replica moved the alias. At a small rate all are answered once it is there."""

    def elsewhere() -> None:
        with slow.services.database.begin() as session:
            registry.move_alias(session, "champion", slow.control)

    async def move(http: httpx.AsyncClient) -> None:
        await asyncio.to_thread(elsewhere)

    async def run() -> None:
        told = await _open_loop(slow, rate=rate, move=move)
        assert (told[slow.erm, 200], told[slow.erm, 503]) == (50, 0)
        assert told["champion", 200] + told["champion", 503] == int(rate * 2.5)
        assert (told["champion", 503] > 0) == (rate > 2)

    _in_the_loop(slow, run)
