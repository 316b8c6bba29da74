"""The body limit as an ASGI server meets it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.middleware.body_limit import BodyLimit

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


def ask(app: ASGIApp, chunks: list[bytes], declared: int | None = None) -> tuple[list[Message], int]:
    """What is sent, and how many chunks were taken."""
    length = (b"content-length", str(declared).encode())
    headers = [(b"transfer-encoding", b"chunked") if declared is None else length]
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": headers}
    sent: list[Message] = []
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": chunks[taken - 1], "more_body": taken < len(chunks)}

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        await BodyLimit(app, limit_of=lambda scope: LIMIT)(scope, receive, send)

    anyio.run(run)
    return sent, taken


def check_refused(sent: list[Message]) -> None:
    assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"]
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
        async def echo() -> AsyncIterator[bytes]:
            async for chunk in Request(scope, receive).stream():
                yield chunk

        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for chunk in echo():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    with pytest.raises(Exception):  # noqa: B017, PT011  # the server closes the connection
        ask(eager, [b"1234"] * 99)
