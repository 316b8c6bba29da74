"""Work is given up when its client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from app.predictions.disconnect import CLIENT_GONE, cancel_on_disconnect
from core.errors import Overloaded


class _Client:
    """Sends the messages, and leaves when it is told to."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._messages = list(messages)
        self.leaves = asyncio.Event()

    async def receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    def request(self) -> Request:
        return Request({"type": "http", "method": "GET", "headers": []}, self.receive)


def test_the_answer_of_one_who_stays() -> None:
    async def run() -> int:
        client = _Client([{"type": "http.request", "body": b"", "more_body": False}])

        async def work() -> Response:
            await asyncio.sleep(0)
            return Response(status_code=202)

        return (await cancel_on_disconnect(client.request(), work())).status_code

    assert asyncio.run(run()) == 202


def test_one_who_leaves_takes_the_work_along() -> None:
    async def run() -> tuple[int, bool]:
        client, cancelled = _Client(), False
        started = asyncio.Event()

        async def work() -> Response:
            nonlocal cancelled
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled = True
                raise
            return Response()

        answer = asyncio.create_task(cancel_on_disconnect(client.request(), work()))
        await started.wait()
        client.leaves.set()
        return (await answer).status_code, cancelled

    assert asyncio.run(run()) == (CLIENT_GONE, True)


def test_a_failure_is_passed_on() -> None:
    async def run() -> None:
        async def work() -> Response:
            raise Overloaded("full")

        await cancel_on_disconnect(_Client().request(), work())

    with pytest.raises(Overloaded):
        asyncio.run(run())
