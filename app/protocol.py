"""uvicorn's protocol, put right where it takes a body for a request, loses one, or hides that a client left.

What belongs to HTTP itself; how much of it one connection may ask for is `connection`'s.
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

_HUNG_UP = getattr(select, "POLLRDHUP", 0)
"""Linux' own; elsewhere POLLHUP tells it, which is never asked for."""
_MOST_WAITING = 1_000
"""Requests of one connection that wait for their turn: of one piece, for nothing is read behind it. A piece
(256 KiB) may hold 14,000, and each takes 3 KiB of memory."""


class Protocol(HttpToolsProtocol):
    """Reads on behind an offer of another protocol, drops trailers, and closes so that answers arrive."""

    _body = False
    """A body is arriving, be its request answered already or not; else a head is awaited or arriving."""
    _lingering = False
    """All is said; what still arrives is dropped."""
    _answered: RequestResponseCycle | None = None
    """The request whose answer was begun last; uvicorn's `cycle` is the one that was read last."""
    _outlet: _Outlet

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._outlet = _Outlet(transport, self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._outlet.let_go(self.transport)
        self._tell_gone()  # uvicorn tells the request that was read last, which may still wait for its turn

    def handle_websocket_upgrade(self) -> None:
        if self._answering() is None:
            self.take_over()
        else:  # web sockets would not tell the request before them that its client has left
            self.send_400_response("a web socket needs a connection of its own")

    def take_over(self) -> None:
        """Hand the connection to web sockets."""
        super().handle_websocket_upgrade()

    # --- what arrives -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._read(memoryview(data))
        except HttpParserError:
            self.send_400_response("this is no request as RFC 9112 has it")

    def _read(self, data: memoryview) -> None:
        """Parse it all. A server may pass over an `Upgrade` (RFC 9110, 7.8), but the parser ends the message
        at its head then, body or not: so the parser gets the head once more, without the offer."""
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
            if self.parser.get_method() == b"CONNECT":  # an offer by itself, without a body (RFC 9110, 9.3.6)
                self.send_400_response("this is no proxy")
                return
            self.parser.feed_data(self._head_without_offer())

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"".join((*lines, b"\r\n"))

    def _offered(self) -> bool:
        """Whether the parser ends a message at its head, for an offer that is passed over."""
        return self.parser.should_upgrade() and not self._should_upgrade()

    def _drop_trailers(self) -> None:
        """From now on, when the head is whole, fields go to a list that nobody has: what comes behind a body
        is no header (RFC 9110, 6.5.1)."""
        if not self.parser.should_upgrade():  # which has no body, and its head is read once more
            self.headers = []

    def on_headers_complete(self) -> None:
        if len(self.pipeline) < _MOST_WAITING:
            super().on_headers_complete()
        else:
            self.send_400_response(f"more than {_MOST_WAITING} requests wait here; send fewer at a time")

    # --- the answers --------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.transport = self._outlet  # type: ignore[assignment]  # all that it asks of a transport
        self._answered = cycle
        if cycle.waiting_for_100_continue:
            app = _closing_unless_asked(cycle, app)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        if self._lingering:
            self.server_state.total_requests += 1
        else:
            super().on_response_complete()
            self.flow.resume_reading()  # where the last that waited has begun

    def _answering(self) -> RequestResponseCycle | None:
        """The request that is being answered, if there is one."""
        cycle = self._answered
        return None if cycle is None or cycle.response_complete else cycle

    def _has_left(self) -> bool:
        """Whether the client hung up while nothing is read, for a request waits behind the one it answers."""
        if not self.pipeline:
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), _HUNG_UP)
        return bool(poll.poll(0))

    def _tell_gone(self) -> None:
        """Tell who answers that the client is gone."""
        cycle = self._answering()
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()

    def _ending(self) -> bool:
        return self._lingering or self.transport.is_closing()

    def _close(self) -> None:
        """Close; a client that is still sending its body hears first why."""
        if self._body:
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Say that all is said, and drop what still comes: closed with unread bytes, a connection is reset,
        and the client may lose the answer (RFC 9112, 9.6). Who calls this sees to an end."""
        if not self._ending():
            self._lingering = True
            with suppress(OSError):  # it is reset already
                self.transport.write_eof()
            self.pipeline.clear()
            self.flow.resume_reading()


class _Outlet:
    """What an answer knows of its transport; it ends as the protocol does."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        self.write = transport.write
        self.close = protocol._close
        self.is_closing = protocol._ending

    def let_go(self, transport: asyncio.Transport) -> None:
        """Of the protocol, which holds this by its requests."""
        self.close, self.is_closing = transport.close, transport.is_closing


class _Flow(FlowControl):
    """Reads nothing while requests wait for their turn: those behind them would gather, without end."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:  # else the one that is answered is whole: another has begun behind it
            super().resume_reading()


def _closing_unless_asked(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """The application of a client that waits for `100 Continue` before it sends its body.

    Answered without, it may send the body or not (RFC 9110, 10.1.1): what comes next could be either.
    """
    keeps, cycle.keep_alive = cycle.keep_alive, False

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def asking() -> Message:
            if cycle.waiting_for_100_continue:  # it is told to go on
                cycle.keep_alive = keeps
            return await receive()

        await app(scope, asking, send)  # type: ignore[arg-type]  # the same shapes, by other names

    return watched  # type: ignore[return-value]  # likewise
