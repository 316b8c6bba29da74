"""How a response reaches the transport: head and body in one piece where they belong together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from app.server.connection import Connection

Answer = Callable[[Send], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TURNS = 10


class Recorder(asyncio.Transport):
    """A transport that keeps the pieces written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def write_eof(self) -> None:
        self.pieces.append(b"EOF")

    def close(self) -> None:
        self.pieces.append(b"CLOSE")
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def answering(answer: Answer) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    return app


def written(app: ASGIApp, sent: bytes, *, then: bytes = b"", lost: bool = False) -> list[bytes]:
    """What is written within some turns of the loop to a client that sends this, and in the turn in which the
    application begins its answer sends more, or leaves.
    """

    async def running() -> list[bytes]:
        transport = Recorder()
        protocol = Connection(uvicorn.Config(app, ws="none", log_config=None), ServerState(), {})
        protocol.connection_made(transport)
        protocol.data_received(sent)
        await asyncio.sleep(0)
        if then:
            protocol.data_received(then)
        if lost:
            transport.closed = True
            protocol.connection_lost(None)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return list(transport.pieces)  # at its end, the loop cancels the application, which may write more

    return asyncio.run(running())


def head(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def length(count: int) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % count


async def _short(send: Send) -> None:
    await send(head(length(2)))
    await send(body(b"ab"))


def test_a_response_is_one_piece() -> None:
    (piece,) = written(answering(_short), GET)
    assert piece == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"


def test_a_head_does_not_wait_for_a_body_that_takes_its_time() -> None:
    async def streaming(send: Send) -> None:
        await send(head())
        await asyncio.Event().wait()

    (piece,) = written(answering(streaming), GET)
    assert piece.endswith(b"transfer-encoding: chunked\r\n\r\n")


def test_a_chunk_that_follows_the_head_goes_with_it_and_the_next_ones_alone() -> None:
    async def streaming(send: Send) -> None:
        await send(head())
        await send(body(b"a", more=True))
        await send(body(b"b"))

    first, second = written(answering(streaming), GET)
    assert first.startswith(b"HTTP/1.1 200 ")
    assert first.endswith(b"\r\n\r\n1\r\na\r\n")
    assert second == b"1\r\nb\r\n0\r\n\r\n"


def test_a_large_body_is_not_copied() -> None:
    large = b"a" * (1 << 20)

    async def answer(send: Send) -> None:
        await send(head(length(len(large))))
        await send(body(large))

    first, second = written(answering(answer), GET)
    assert first == b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n"
    assert second == large


@pytest.mark.parametrize("status", [204, 304])
def test_a_head_without_a_body_is_sent(status: int) -> None:
    async def answer(send: Send) -> None:
        await send(head(status=status))
        await send(body(b""))

    assert b"".join(written(answering(answer), GET)).startswith(b"HTTP/1.1 %d " % status)


def test_the_answer_to_head_comes_before_the_next_one() -> None:
    ask = GET.replace(b"GET", b"HEAD")
    empty = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    assert b"".join(written(answering(_short), ask + GET)) == 2 * empty + b"ab"
    first, second, _ = written(answering(_short), ask, then=b"no HTTP\r\n\r\n")
    assert first == empty
    assert second.startswith(b"HTTP/1.1 400 ")


def test_what_was_begun_is_sent_before_the_connection_closes() -> None:
    async def failing(send: Send) -> None:
        await send(head(length(2)))
        raise RuntimeError

    pieces = written(answering(failing), GET)
    assert pieces == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"CLOSE"]


def test_what_was_begun_is_sent_before_an_eof() -> None:
    """A client whose body turns out to be malformed gets the head that has been begun, and then an EOF."""

    async def beginning(send: Send) -> None:
        await send(head(length(2)))
        await asyncio.Event().wait()

    chunked = GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    pieces = written(answering(beginning), chunked, then=b"no chunk\r\n")
    assert pieces == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"EOF"]


def test_nothing_is_written_to_who_has_left() -> None:
    async def answer(send: Send) -> None:
        await send(head(length(2)))
        await asyncio.Event().wait()

    assert written(answering(answer), GET, lost=True) == [b"CLOSE"]


def test_who_waits_to_be_told_to_send_is_told() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    waiting = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    assert written(app, waiting) == [b"HTTP/1.1 100 Continue\r\n\r\n"]
