"""As many predictions as may be in flight are let in; the others are told at once, and nobody else is."""

from __future__ import annotations

import asyncio

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.operations.metrics import Metrics
from app.server.middleware.admission import Admission, Gate


class App:
    """Answers when it is let go; `/fails` raises."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["query_string"] == b"fail":
            raise RuntimeError("it fails")
        if scope["path"].removeprefix("/behind") == "/predict":
            await self.go.wait()
        await PlainTextResponse("done")(scope, receive, send)


def test_those_beyond_the_bound_are_refused_and_places_come_back() -> None:
    async def run() -> None:
        inner = App()
        gate = Gate(2)
        transport = httpx.ASGITransport(
            Admission(inner, gate, Metrics()), raise_app_exceptions=False, root_path="/behind"
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            assert (await http.post("/saliency?fail")).status_code == 500  # its place comes back too
            inside = [asyncio.create_task(http.post(path)) for path in ("/predict", "/behind/predict")]
            while gate.in_flight < 2:
                await asyncio.sleep(0)
            refused = await http.post("/predict")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["type"] == "/problems/overloaded"
            assert (await http.post("/ui/upload/image")).status_code == 503
            for path in ("/livez", "/jobs/predict", "/ui/predict"):
                assert (await http.get(path)).status_code == 200
            inner.go.set()
            assert [(await one).status_code for one in inside] == [200, 200]
            assert (await http.post("/predict")).status_code == 200
            assert gate.in_flight == 0

    asyncio.run(run())


class Clock:
    """Says what it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def filled(gate: Gate) -> int:
    """As many as it lets in."""
    while not gate.full:
        gate.in_flight += 1
    return gate.in_flight


def test_a_burst_has_all_places() -> None:
    gate = Gate(5, clock=Clock())
    for _ in range(1000):
        assert filled(gate) == 5
        gate.note_refusal()


def overloaded(most: int, clock: Clock) -> Gate:
    """A gate in an overload that has stood a bit longer than a tenth of a second, with nobody inside."""
    gate = Gate(most, clock=clock)
    for _ in range(5):
        assert filled(gate) == most
        gate.note_refusal()
        clock.now += 0.03125
    gate.in_flight = 0
    return gate


def test_an_overload_that_stands_has_a_third_of_them_until_it_is_over() -> None:
    clock = Clock()
    gate = overloaded(17, clock)
    assert filled(gate) == 6
    clock.now += 0.9  # nobody was refused since, but who was may not be back yet
    assert filled(gate) == 6
    clock.now += 0.2
    assert filled(gate) == 17


def test_refusals_far_apart_are_bursts() -> None:
    clock = Clock()
    gate = Gate(4, clock=clock)
    for _ in range(10):
        gate.note_refusal()
        clock.now += 1.5
        assert filled(gate) == 4
        gate.in_flight = 0


def test_one_place_is_never_divided() -> None:
    clock = Clock()
    gate = Gate(1, clock=clock)
    gate.note_refusal()
    clock.now += 0.5
    gate.note_refusal()
    assert filled(gate) == 1
