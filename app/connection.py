"""One connection of the server: heads of requests are bounded in bytes and time, bodies in their pace, and
predictions in their number (`middleware.admission`).

uvicorn's own protocol waits for ever for the rest of a head or a body, and takes a head of any size. With
it, a client that sends a byte now and then holds a connection for as long as it likes (slowloris), and one
that sends a header without an end fills the memory, both before anybody asks for its key.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from http import HTTPStatus
from math import inf
from typing import ClassVar

from starlette.types import Receive, Scope, Send

from app.headers import new_request_id
from app.middleware.admission import PLACE, Gate, Place
from app.middleware.refusing import Headers
from app.protocol import Protocol
from app.refusals import END, Refusals, head_of, problem_of


class Connection(Protocol):
    """Looks at itself every second. A client that is made to wait (back pressure) is not called slow."""

    MAX_HEAD_BYTES: ClassVar = 64 << 10
    """Of request line and headers together; proxies take 8 to 32 KiB. And of what is in a body and no body:
    trailers, extensions of chunks."""
    HEAD_SECONDS: ClassVar = 10.0
    """From the connection, or the first byte of a later request on it, to the end of the head."""
    BODY_SECONDS: ClassVar = 20.0
    """How far a body may be behind its pace: a short stop of the network is nobody's attack."""
    PACE: ClassVar = 500
    """Bytes per second that a body must reach on the whole (as in Apache's mod_reqtimeout)."""
    SLOW_SECONDS: ClassVar = 2.0
    """A body that takes longer to come leaves its place at the gate to others meanwhile: else a few bytes a
    second in each place would refuse all predictions."""
    ANSWER_SECONDS: ClassVar = 60.0
    """How far a client may be behind that pace in reading an answer."""
    TICK: ClassVar = 1.0

    gate: ClassVar[Gate | None] = None
    """What bounds the predictions in flight (`guarded`)."""
    refusals: ClassVar[Refusals]
    """Its refusals as bytes; there with the gate."""

    _bytes = 0
    """Of the part that is arriving, so far. What came in one piece with the end of the part before is not
    counted."""
    _framing = 0
    """Of a body, since there was last a byte of the body itself: whole pieces alone."""
    _most = inf
    """Bytes that may still come when all is said."""
    _piece = 0
    """Bytes that arrived together, last."""
    _waited = 0.0
    """Seconds that this part has been waited for."""
    _unsent = 0
    """Bytes of answers that the client had not read when it was last looked at."""
    _behind = 0.0
    """Seconds that it is behind in reading them."""
    _timer: TimerHandle | None = None
    _answers_itself = False
    """In place of the application, to say what is wrong with the head."""
    _place: Place | None = None
    """At the gate, of the request whose body is arriving."""
    _turned_away = False
    """The request whose head came last was refused for the gate; the rest of its body is read and dropped."""

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
                f"trailers and extensions of a chunk may have {self.MAX_HEAD_BYTES} bytes at most; send none",
            )
        return None

    def _drop(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._most:
            self.transport.close()

    def resume_writing(self) -> None:
        self._behind = 0.0  # it has read 48 KiB
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._waited = 0.0

    def on_headers_complete(self) -> None:
        if self._lingering:  # behind a request that ends the connection, in one piece with it
            self._turned_away = True
            return
        if self._offered():
            return
        if max(self._bytes, self._piece) > self.MAX_HEAD_BYTES:  # most requests are spared the sum
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.MAX_HEAD_BYTES:  # and came to its end before anybody looked
                self.app, self._answers_itself = self._answer_too_large, True
        path = self._asked_path()
        self._turned_away = path is not None and self.gate is not None and self.gate.full
        if path is None or self.gate is None:
            super().on_headers_complete()  # raises where the head is no good after all
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
            pass  # once the client has read the rest
        elif self._lingering:
            if self._waited >= self.BODY_SECONDS or self._is_behind(self.SLOW_SECONDS):
                self.transport.close()
        elif self._body and self._is_behind(self.BODY_SECONDS):
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                f"a body must come at {self.PACE} bytes/s at least; send it again",
            )
        elif self._place is not None and self._waited >= self.SLOW_SECONDS and not self._place.step_out():
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"too many bodies take longer than {self.SLOW_SECONDS:g} s to come now; send it again later",
            )
        elif not self._body and self._waited >= self.HEAD_SECONDS:
            self._give_up_head()

    def _is_behind(self, seconds: float) -> bool:
        """Whether what arrives is further behind its pace than that."""
        return self._bytes < (self._waited - seconds) * self.PACE

    def _give_up_head(self) -> None:
        if self._bytes:
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT, f"the head of a request must come within {self.HEAD_SECONDS:g} s"
            )
        else:  # a pool keeps connections for later: it would take a 408 for the answer of its next request
            self.transport.close()

    def _awaited(self) -> bool:
        """Whether it is the client's turn."""
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

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Say why, unless an answer has begun, and close; the application learns that the client is gone."""
        answering = self._answering()
        answered = self._body and (self._turned_away or self.cycle.response_complete)
        if not answered and (answering is None or not answering.response_started):
            self._write(status, *problem_of(status, detail))
        self._tell_gone()
        self._most = self.MAX_HEAD_BYTES
        self._linger()

    def _write(self, status: HTTPStatus, headers: Headers, body: bytes) -> None:
        """A whole answer, past the application."""
        self.transport.write(b"".join((head_of(status, headers), END, body)))

    def _asked_path(self) -> str | None:
        """Where the request that begins here is one that the gate looks at, its path.

        What is behind another (pipelining) is looked at in its turn, and what comes to no application of ours
        not at all. A path in another spelling than clients use is left to `Admission`.
        """
        if self.gate is None or self.parser.get_method() != b"POST" or self._answering() is not None:
            return None
        if self._answers_itself or self.parser.should_upgrade():
            return None
        path = self.url.partition(b"?")[0].decode("latin-1")
        return path if self.gate.covers(path) else None

    def _admit(self, gate: Gate) -> None:
        """Begin a request that has its place until the application is done with it."""
        application, place = self.app, Place(gate)

        async def placed(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await application(scope, receive, send)
            finally:
                place.leave()

        self.scope[PLACE] = True  # type: ignore[literal-required]  # a key of ours
        self.app = placed
        try:
            super().on_headers_complete()
        finally:
            self.app = application
        place.enter()  # before the task has its first turn
        self._place = place

    def _turn_away(self, path: str) -> None:
        """Answer 503 here and now: no task, no application."""
        assert self.gate is not None
        headers, body = self.gate.refusal(path)
        head = self.refusals.head(path, headers, self.server_state.default_headers)
        stays = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        stays = stays and not self.expect_100_continue  # as in `protocol`: its body may come or not
        end = END if stays else b"connection: close\r\n\r\n"
        request_id = new_request_id().encode()
        self.transport.write(b"".join((head, b"x-request-id: ", request_id, END, end, body)))
        if not stays:
            self._close()
        self.server_state.total_requests += 1
        self.gate.refused(path)

    def _too_large(self) -> str:
        return f"request line and headers may have {self.MAX_HEAD_BYTES} bytes at most; send less"

    async def _answer_too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        headers, body = problem_of(status, self._too_large())
        await send({"type": "http.response.start", "status": status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def guarded(protocol: type[Connection], gate: Gate) -> type[Connection]:
    """This protocol, which asks that gate."""
    return type(protocol.__name__, (protocol,), {"gate": gate, "refusals": Refusals()})
