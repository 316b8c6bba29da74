"""One connection of the server. It limits the size and duration of request heads, the pace of bodies, and the
number of predictions in flight (`middleware.admission`).

uvicorn's own protocol waits forever for the rest of a head or a body and accepts a head of any size. A client
that sends a byte now and then could hold a connection indefinitely (slowloris), and one that sends an endless
header could fill the memory, both before its key is checked.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from http import HTTPStatus
from math import inf
from typing import ClassVar

from starlette.types import Receive, Scope, Send

from app.http.headers import new_request_id
from app.server.middleware.admission import PLACE, Gate, Place
from app.server.middleware.refusing import Header, Headers
from app.server.protocol import Protocol
from app.server.refusals import END, Refusals, head_of, problem_of


class Connection(Protocol):
    """Checks its limits every second. Time that a client must wait for us (backpressure) does not count."""

    MAX_HEAD_BYTES: ClassVar = 64 << 10
    """Limit of the request line and headers together (proxies allow 8 to 32 KiB), and of the parts of a body
    that are not content: trailers and chunk extensions."""
    HEAD_SECONDS: ClassVar = 10.0
    """From the start of the connection, or the first byte of a later request, to the end of the head."""
    BODY_SECONDS: ClassVar = 20.0
    """How far a body may fall behind `PACE`: a short network stall is not an attack."""
    PACE: ClassVar = 500
    """Average bytes per second that a body must reach (as in Apache's mod_reqtimeout)."""
    SLOW_SECONDS: ClassVar = 2.0
    """A body that takes longer to arrive gives up its place at the gate until it is complete. Otherwise
    clients that send a few bytes a second could occupy every place and block all predictions."""
    RETRY_SECONDS: ClassVar = 5
    """`Retry-After` for a slow body when no place outside the gate is left."""
    ANSWER_SECONDS: ClassVar = 60.0
    """How far a client may fall behind `PACE` in reading a response."""
    TICK: ClassVar = 1.0

    gate: ClassVar[Gate | None] = None
    """Limits the predictions in flight; set by `guarded`."""
    refusals: ClassVar[Refusals]
    """The gate's refusals as bytes; set together with `gate`."""

    _bytes = 0
    """Bytes received of the current part (head or body), without those that arrived in the same piece as the
    end of the previous part."""
    _framing = 0
    """Bytes received since the last byte of body content, counted in whole pieces."""
    _most = inf
    """Bytes that may still arrive after a refusal before the connection is closed."""
    _piece = 0
    """Size of the last piece received, in bytes."""
    _waited = 0.0
    """Seconds spent waiting for the current part."""
    _unsent = 0
    """Bytes of responses that were unread by the client at the last check."""
    _behind = 0.0
    """Seconds that the client is behind in reading them."""
    _timer: TimerHandle | None = None
    _answers_itself = False
    """Whether the connection answers instead of the application, to report what is wrong with the head."""
    _place: Place | None = None
    """Place at the gate of the request whose body is arriving."""
    _turned_away = False
    """Whether the gate refused the request whose head came last; the rest of its body is read and dropped."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.TICK, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_looking()
        super().connection_lost(exc)

    def take_over(self) -> None:
        self._stop_looking()
        super().take_over()

    # --- what arrives -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return self._drop(len(data))
        self._piece = len(data)
        if self._body:
            self._framing += len(data)
        else:
            self._bytes += len(data)
        super().data_received(data)
        if self._ending():
            return None
        if not self._body and self._bytes > self.MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, self._too_large())
        elif self._framing > self.MAX_HEAD_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"trailers and chunk extensions may have at most {self.MAX_HEAD_BYTES} bytes; send none",
            )
        return None

    def _drop(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._most:
            self.transport.close()

    def resume_writing(self) -> None:
        self._behind = 0.0  # the client has read 48 KiB
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._waited = 0.0

    def on_headers_complete(self) -> None:
        if self._lingering:  # arrived in one piece with an earlier request that ends the connection
            self._turned_away = True
            return
        if self._offered():
            return
        if max(self._bytes, self._piece) > self.MAX_HEAD_BYTES:  # saves most requests the exact sum
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.MAX_HEAD_BYTES:  # and was complete before `data_received` could check
                self.app, self._answers_itself = self._answer_too_large, True
        path = self._asked_path()
        self._turned_away = path is not None and self.gate is not None and self.gate.full
        if path is None or self.gate is None:
            super().on_headers_complete()  # raises if the head turns out to be invalid
        elif not self._turned_away:
            self._admit(self.gate)
        self._begin(body=True)
        self._drop_trailers()
        if path is not None and self._turned_away:
            self._turn_away(path)

    def on_body(self, body: bytes) -> None:
        self._bytes += len(body)
        self._framing = 0
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offered():
            return
        self._begin(body=False)
        if self._place is not None:
            self._place.step_in()
            self._place = None
        if not self._turned_away:
            super().on_message_complete()

    def _begin(self, *, body: bool) -> None:
        self._body, self._bytes, self._framing, self._waited = body, 0, 0, 0.0

    # --- the clock ----------------------------------------------------------------------------

    def _look(self) -> None:
        self._timer = self.loop.call_later(self.TICK, self._look)
        if self._awaited():
            self._waited += self.TICK
        unsent = self.transport.get_write_buffer_size()
        read = max(0, self._unsent - unsent)
        self._behind = max(0.0, self._behind + self.TICK - read / self.PACE) if unsent else 0.0
        self._unsent = unsent
        if self._behind >= self.ANSWER_SECONDS or self._has_left():
            self.transport.abort()
        elif self.transport.is_closing():
            pass  # closes once the client has read the rest
        elif self._lingering:
            if self._waited >= self.BODY_SECONDS or self._is_behind(self.SLOW_SECONDS):
                self.transport.close()
        elif self._body and self._is_behind(self.BODY_SECONDS):
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the body arrived at less than {self.PACE} bytes/s; send it again, faster",
            )
        elif self._place is not None and self._waited >= self.SLOW_SECONDS and not self._place.step_out():
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"too many bodies are taking longer than {self.SLOW_SECONDS:g} s to arrive; try again later",
                (b"retry-after", str(self.RETRY_SECONDS).encode()),
            )
        elif not self._body and self._waited >= self.HEAD_SECONDS:
            self._give_up_head()

    def _is_behind(self, seconds: float) -> bool:
        """Whether the current part is more than `seconds` behind `PACE`."""
        return self._bytes < (self._waited - seconds) * self.PACE

    def _give_up_head(self) -> None:
        if self._bytes:
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the request line and headers must arrive within {self.HEAD_SECONDS:g} s",
            )
        else:  # idle in a client's pool, which would take a 408 as the response to its next request
            self.transport.close()

    def _awaited(self) -> bool:
        """Whether the connection is waiting for the client."""
        if self._lingering:
            return True
        if self._body and not self._turned_away:
            return not self.flow.read_paused and not self.cycle.waiting_for_100_continue
        return self._answering() is None

    def _stop_looking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- the answers --------------------------------------------------------------------------

    def _linger(self) -> None:
        if not self._ending():
            self._bytes, self._waited = 0, 0.0
        super()._linger()

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _refuse(self, status: HTTPStatus, detail: str, *more: Header) -> None:
        """Send a problem unless a response has begun, tell the application of the disconnect, and close."""
        answering = self._answering()
        answered = self._body and (self._turned_away or self.cycle.response_complete)
        if not answered and (answering is None or not answering.response_started):
            self._write(status, *problem_of(status, detail, *more))
        self._tell_gone()
        self._most = self.MAX_HEAD_BYTES
        self._linger()

    def _write(self, status: HTTPStatus, headers: Headers, body: bytes) -> None:
        """Send a complete response, bypassing the application."""
        self.transport.write(b"".join((head_of(status, headers), END, body)))

    def _asked_path(self) -> str | None:
        """Return the path of the request that begins here if the gate covers it, else None.

        `Admission` checks a pipelined request when its turn comes, and a path in an unusual spelling. A
        request that does not reach the application is not checked at all.
        """
        if self.gate is None or self.parser.get_method() != b"POST" or self._answering() is not None:
            return None
        if self._answers_itself or self.parser.should_upgrade():
            return None
        path = self.url.partition(b"?")[0].decode("latin-1")
        return path if self.gate.covers(path) else None

    def _admit(self, gate: Gate) -> None:
        """Begin a request that keeps its place at the gate until the application has finished it."""
        application, place = self.app, Place(gate)

        async def placed(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await application(scope, receive, send)
            finally:
                place.leave()

        self.scope[PLACE] = True  # type: ignore[literal-required]  # a key of our own
        self.app = placed
        try:
            super().on_headers_complete()
        finally:
            self.app = application
        place.enter()  # before the task first runs
        self._place = place

    def _turn_away(self, path: str) -> None:
        """Answer 503 at once, without a task or the application."""
        assert self.gate is not None
        headers, body = self.gate.refusal(path)
        head = self.refusals.head(path, headers, self.server_state.default_headers)
        stays = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        stays = stays and not self.expect_100_continue  # as in `protocol`: the body may or may not follow
        end = END if stays else b"connection: close\r\n\r\n"
        request_id = new_request_id().encode()
        self.transport.write(b"".join((head, b"x-request-id: ", request_id, END, end, body)))
        if not stays:
            self._close()
        self.server_state.total_requests += 1
        self.gate.refused(path)

    def _too_large(self) -> str:
        return f"the request line and headers may have at most {self.MAX_HEAD_BYTES} bytes; send fewer"

    async def _answer_too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        headers, body = problem_of(status, self._too_large())
        await send({"type": "http.response.start", "status": status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def guarded(protocol: type[Connection], gate: Gate) -> type[Connection]:
    """Return a subclass of the protocol that uses this gate."""
    return type(protocol.__name__, (protocol,), {"gate": gate, "refusals": Refusals()})
