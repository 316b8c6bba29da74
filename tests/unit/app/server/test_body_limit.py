"""The body limit as an ASGI server meets it."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import anyio
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.clock import CLOCK, Clock, TimeLimits
from tests.unit.app.server.edges import api_edge

LIMIT = 10


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads everything, then says how much it was."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


async def defiant(scope: Scope, receive: Receive, send: Send) -> None:
    """Turns what is raised while it reads into an answer of its own, as frameworks do."""
    try:
        await Request(scope, receive).body()
    except Exception:  # noqa: BLE001  # as frameworks do
        await Response(status_code=400)(scope, receive, send)


class Cut(asyncio.Transport):
    """Notes that it is cut off."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


def ask(
    app: ASGIApp, chunks: list[bytes], declared: int | None = None, transport: Cut | None = None
) -> tuple[list[Message], int]:
    """What is sent, and how many chunks had been taken when the answer began."""
    length = (b"content-length", str(declared).encode())
    headers = [(b"transfer-encoding", b"chunked") if declared is None else length]
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/x",
        "query_string": b"",
        "headers": [(b"host", b"a"), *headers],
    }
    sent: list[Message] = []
    taken = taken_before = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": chunks[taken - 1], "more_body": taken < len(chunks)}

    async def send(message: Message) -> None:
        nonlocal taken_before
        if message["type"] == "http.response.start":
            taken_before = taken
        sent.append(message)

    async def run() -> None:
        clock = Clock(TimeLimits())
        if transport is not None:
            clock.opened(transport)
        scope["state"] = {CLOCK: clock}
        await api_edge(app, limit=LIMIT)(scope, receive, send)

    anyio.run(run)
    return sent, taken_before


def check_refused(sent: list[Message]) -> None:
    """The end is held back until the rest of the body was taken."""
    start, *parts = sent
    assert start["type"] == "http.response.start"
    assert [m.get("more_body", False) for m in parts] in ([False], [True, False])
    assert not any(m["body"] for m in parts[1:] if "body" in m)
    headers = dict(sent[0]["headers"])
    body: dict[str, Any] = json.loads(sent[1]["body"])
    assert sent[0]["status"] == body["status"] == 413
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"] == b"close"
    assert body["type"] == "/problems/payload-too-large"


def test_a_body_at_the_limit_passes() -> None:
    sent, _ = ask(whole, [b"12345", b"67890"], declared=10)
    assert sent[1]["body"] == b"10"


def test_a_declared_length_is_refused_before_a_byte_is_read() -> None:
    sent, taken = ask(whole, [b"x"] * 99, declared=11)
    check_refused(sent)
    assert taken == 0


@pytest.mark.parametrize("app", [whole, defiant])
def test_a_stream_is_refused_at_the_first_byte_over(app: ASGIApp) -> None:
    sent, taken = ask(app, [b"1234"] * 99)
    check_refused(sent)
    assert taken == 3


def test_a_length_that_lies_is_counted() -> None:
    sent, _ = ask(whole, [b"x" * 99], declared=1)
    check_refused(sent)


def test_an_answer_that_had_begun_is_cut_off() -> None:
    async def eager(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with suppress(ClientDisconnect):
            async for chunk in Request(scope, receive).stream():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    transport = Cut()
    sent, _ = ask(eager, [b"1234"] * 99, transport=transport)
    assert transport.aborted
    assert [m.get("body") for m in sent[1:]] == [b"1234", b"1234"]
