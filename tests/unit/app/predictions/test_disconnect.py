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

pytestmark = pytest.mark.anyio


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


async def test_the_answer_of_one_who_stays() -> None:
    client = _Client([{"type": "http.request", "body": b"", "more_body": False}])

    async def work() -> Response:
        await asyncio.sleep(0)
        return Response(status_code=202)

    assert (await cancel_on_disconnect(client.request(), work())).status_code == 202


async def test_one_who_leaves_takes_the_work_along() -> None:
    client, started, cancelled = _Client(), asyncio.Event(), asyncio.Event()

    async def work() -> Response:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Response()

    answer = asyncio.create_task(cancel_on_disconnect(client.request(), work()))
    await started.wait()
    client.leaves.set()
    assert (await answer).status_code == CLIENT_GONE
    assert cancelled.is_set()


async def test_a_failure_is_passed_on() -> None:
    async def work() -> Response:
        raise Overloaded("full")

    with pytest.raises(Overloaded):
        await cancel_on_disconnect(_Client().request(), work())
