"""A fake service from a handler function, for both the blocking and the async client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import httpx2
import pytest

from masktune import AsyncClient, Client, Retry
from masktune.client.client import TIMEOUT, headers, timeouts
from masktune.client.drivers import AsyncDriver, SyncDriver
from masktune.client.wire import EmittingFlow, Flow, Sleep

CREATED = {"created_at": "2025-11-03T09:30:00.000Z"}

E = TypeVar("E")
T = TypeVar("T")
Handler = Callable[[httpx2.Request], httpx2.Response]
FAST = Retry(attempts=4, first=0.0, longest=0.0)


def blocking(handler: Handler, url: str = "http://test", timeout: float = TIMEOUT) -> Client:
    """The blocking client of a service that this handler is."""
    transport = httpx2.MockTransport(handler)
    http = httpx2.Client(base_url=url, headers=headers("k"), timeout=timeouts(timeout), transport=transport)
    return Client.over(SyncDriver(http, FAST))


def awaiting(handler: Handler) -> AsyncClient:
    """The same for asyncio."""
    transport = httpx2.MockTransport(handler)
    http = httpx2.AsyncClient(
        base_url="http://test", headers=headers("k"), timeout=timeouts(), transport=transport
    )
    return AsyncClient.over(AsyncDriver(http, FAST))


class Runner(Protocol):
    """Runs flows against a handler, with one of the two drivers."""

    def run(self, handler: Handler, flow: Flow[T]) -> T: ...

    def all(self, handler: Handler, flow: EmittingFlow[T]) -> list[T]: ...


def hasty(flow: Generator[E, Any, T]) -> Generator[E, Any, T]:
    """The same flow with all its waits skipped, including those between two requests for a job."""
    resume: Callable[[Any], E] = flow.send
    answer: Any = None
    while True:
        try:
            effect = resume(answer)
        except StopIteration as ended:
            return cast("T", ended.value)
        resume, answer = flow.send, None
        if not isinstance(effect, Sleep):
            try:
                answer = yield effect
            except Exception as error:  # noqa: BLE001  # a driver throws a request's exception into the flow
                resume, answer = flow.throw, error


class _Blocking:
    def run(self, handler: Handler, flow: Flow[T]) -> T:
        with blocking(handler) as client:
            return client.driver.run(hasty(flow))

    def all(self, handler: Handler, flow: EmittingFlow[T]) -> list[T]:
        with blocking(handler) as client:
            return list(client.driver.iterate(hasty(flow)))


class _Awaiting:
    def run(self, handler: Handler, flow: Flow[T]) -> T:
        async def go() -> T:
            async with awaiting(handler) as client:
                return await client.driver.run(hasty(flow))

        return asyncio.run(go())

    def all(self, handler: Handler, flow: EmittingFlow[T]) -> list[T]:
        async def go() -> list[T]:
            async with awaiting(handler) as client:
                return [item async for item in client.driver.iterate(hasty(flow))]

        return asyncio.run(go())


@pytest.fixture(params=[_Blocking, _Awaiting], ids=["blocking", "async"])
def runner(request: pytest.FixtureRequest) -> Runner:
    made: Runner = request.param()
    return made


@dataclass
class Script:
    """A handler that returns these answers in order and records the requests."""

    answers: list[httpx2.Response | Exception]
    asked: list[httpx2.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        self.bodies.append(request.read())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Chunks(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that arrives in these pieces; a piece that is an exception breaks the connection."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def job(**fields: Any) -> dict[str, Any]:
    """A job as the service returns it."""
    return {
        "id": "job_1",
        "kind": "masktune",
        **CREATED,
        "state": "running",
        "progress": {"fraction": 0.5},
    } | fields


def problem(code: str, status: int, **fields: Any) -> httpx2.Response:
    body = {"type": f"/problems/{code}", "title": code, "status": status, "detail": "do this"} | fields
    return httpx2.Response(status, json=body, headers={"Content-Type": "application/problem+json"})
