"""uvicorn's protocol, with fixes where it takes a body for a request, loses a request or hides a disconnect.

This module deals with HTTP itself; `connection` sets the limits.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Sized
from contextlib import suppress

from httptools import HttpParserError, HttpParserUpgrade
from starlette.types import Message, Receive, Scope, Send
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_JOINED = 64 << 10
"""Largest start of a body that is copied to go out together with the head, in bytes."""
_HUNG_UP = getattr(select, "POLLRDHUP", 0)
"""POLLRDHUP exists only on Linux. Elsewhere POLLHUP reports the hang-up without being requested."""
_MOST_WAITING = 1_000
"""Limit of pipelined requests waiting on one connection. They all come from one piece, since nothing is read
after it; a piece (256 KiB) may hold 14,000 requests, and each takes 3 KiB of memory."""


class Protocol(HttpToolsProtocol):
    """Ignores upgrade offers without losing the body, drops trailers, and closes so that responses arrive."""

    _body = False
    """Whether a body is arriving, even if its request is already answered; else a head is next."""
    _lingering = False
    """Whether the last response has been sent; whatever still arrives is dropped."""
    _answered: RequestResponseCycle | None = None
    """The request whose processing started last; uvicorn's `cycle` is the request read last."""
    _outlet: _Outlet

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._outlet = _Outlet(transport, self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._outlet.let_go(self.transport)
        self._tell_gone()  # uvicorn only tells the request read last, which may still be queued

    def handle_websocket_upgrade(self) -> None:
        if self._answering() is None:
            self.take_over()
        else:  # the web socket protocol would not tell the earlier request about a disconnect
            self.send_400_response("a web socket needs its own connection")

    def take_over(self) -> None:
        """Hand the connection over to the web socket protocol."""
        super().handle_websocket_upgrade()

    # --- what arrives -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._read(memoryview(data))
        except HttpParserError:
            self.send_400_response("this is not a well-formed HTTP request (RFC 9112)")

    def _read(self, data: memoryview) -> None:
        """Parse all data. A server may ignore an `Upgrade` (RFC 9110, 7.8), but the parser then ends the
        message after its head even if it has a body, so the head is parsed again without the offer."""
        while True:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
            else:
                return
            if self._ending():
                return
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return
            if self.parser.get_method() == b"CONNECT":  # counts as an upgrade; has no body (RFC 9110, 9.3.6)
                self.send_400_response("this server is not a proxy")
                return
            self.parser.feed_data(self._head_without_offer())

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"".join((*lines, b"\r\n"))

    def _offered(self) -> bool:
        """Whether the parser ends the message after its head because of an upgrade offer that is ignored."""
        return self.parser.should_upgrade() and not self._should_upgrade()

    def _drop_trailers(self) -> None:
        """Collect further fields in a list that nobody reads. Called when the head is complete: trailers must
        not become headers (RFC 9110, 6.5.1)."""
        if not self.parser.should_upgrade():  # otherwise the head is parsed once more
            self.headers = []

    def on_headers_complete(self) -> None:
        if len(self.pipeline) < _MOST_WAITING:
            super().on_headers_complete()
        else:
            self.send_400_response(
                f"more than {_MOST_WAITING} requests are waiting on this connection; send fewer at a time"
            )

    # --- the answers --------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.transport = self._outlet  # type: ignore[assignment]  # has every method that the cycle uses
        self._outlet.holds = cycle.scope["method"] != "HEAD"  # whose answers have no body
        self._answered = cycle
        if cycle.waiting_for_100_continue:
            app = _closing_unless_asked(cycle, app)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        if self._lingering:
            self.server_state.total_requests += 1
        else:
            super().on_response_complete()
            self.flow.resume_reading()  # takes effect once the last waiting request has begun

    def _answering(self) -> RequestResponseCycle | None:
        """Return the request that is being answered, if there is one."""
        cycle = self._answered
        return None if cycle is None or cycle.response_complete else cycle

    def _has_left(self) -> bool:
        """Whether the client hung up while reading is paused because a pipelined request is waiting."""
        if not self.pipeline:
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), _HUNG_UP)
        return bool(poll.poll(0))

    def _tell_gone(self) -> None:
        """Tell the request being answered that the client has disconnected."""
        cycle = self._answering()
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()

    def _ending(self) -> bool:
        return self._lingering or self.transport.is_closing()

    def _close(self) -> None:
        """Close the connection, after lingering if the client is still sending its body."""
        if self._body:
            self._linger()
        else:
            self._outlet.flush()  # of a response that failed after its head
            self.transport.close()

    def _linger(self) -> None:
        """Send EOF and drop whatever still arrives. Closing with unread bytes would reset the connection, and
        the client might lose the response (RFC 9112, 9.6). The caller must make sure that lingering ends."""
        if not self._ending():
            self._lingering = True
            self._outlet.flush()
            with suppress(OSError):  # the connection is already reset
                self.transport.write_eof()
            self.pipeline.clear()
            self.flow.resume_reading()


class _Outlet:
    """The transport as a response sees it. Closing goes through the protocol, so that it can linger, and a
    head goes out together with the start of its body.

    uvicorn writes them separately, and uvloop hands each write to the kernel at once: a second system call
    and a second segment, a twentieth of the time of a small network's answer. A head whose body has not begun
    by the next turn of the loop goes alone.
    """

    __slots__ = ("_call_soon", "_head", "_write", "close", "holds", "is_closing")

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        self._write = transport.write
        self._call_soon = protocol.loop.call_soon
        self._head = b""
        self.holds = False
        """Whether the next piece is a head that waits for its body."""
        self.close = protocol._close
        self.is_closing = protocol._ending

    def write(self, piece: bytes) -> None:
        if self.holds:
            self.holds = False
            self._head = piece
            self._call_soon(self.flush)
        elif self._head and len(piece) <= _JOINED:
            head, self._head = self._head, b""
            self._write(head + piece)
        else:
            self.flush()
            self._write(piece)

    def flush(self) -> None:
        """Send the head that still waits for its body."""
        if self._head:
            head, self._head = self._head, b""
            self._write(head)

    def let_go(self, transport: asyncio.Transport) -> None:
        """Drop the head that waits and the references to the protocol, which would form a cycle."""
        self._head, self.holds = b"", False
        self.close, self.is_closing = transport.close, transport.is_closing


class _Flow(FlowControl):
    """Pauses reading while pipelined requests wait; otherwise their number could grow without limit."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:  # a request that has another waiting behind it is already complete
            super().resume_reading()


def _closing_unless_asked(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """Wrap the application for a request with `Expect: 100-continue`: close unless the body is asked for.

    After a response without `100 Continue`, the client may or may not send the body (RFC 9110, 10.1.1), so
    the next bytes could be either a body or a request.
    """
    keeps, cycle.keep_alive = cycle.keep_alive, False

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def asking() -> Message:
            if cycle.waiting_for_100_continue:  # `receive` sends the `100 Continue`
                cycle.keep_alive = keeps
            return await receive()

        await app(scope, asking, send)  # type: ignore[arg-type]  # Starlette's names for the same types

    return watched  # type: ignore[return-value]  # as above
