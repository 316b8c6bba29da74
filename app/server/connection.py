"""One connection of the server, and how long its client may take.

uvicorn parses with h11: it limits a head and everything else that is not content (`MAX_HEAD_BYTES`), drops
trailers, and reads no request behind one that is being answered. Two waits without end are ended here, for an
unfinished head and for an answer to be read; those of a request in `middleware.time_limits`, which says when
one begins and ends. Otherwise a client that sends or reads a byte now and then could hold a connection for as
long as it likes (slowloris), before its key is checked.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from app.server.middleware.refusing import as_bytes
from core.errors import problem
from masktune.contract.problems import PROBLEM_KINDS, ErrorCode

MAX_HEAD_BYTES = 64 << 10
"""Limit of the request line and headers together; proxies allow 8 to 32 KiB."""
TOO_LARGE = f"the request line and headers may have at most {MAX_HEAD_BYTES} bytes; send fewer"
_HEAD_TOO_LARGE = PROBLEM_KINDS[ErrorCode.HEAD_TOO_LARGE].status
ANSWER_BYTES = 48 << 10
"""What a client must read of an answer in `TimeLimits.answer`: about what asyncio buffers before it waits."""
CLOCK = "masktune.clock"
"""Key of a connection's `Clock` in the `state` of its requests' scopes."""


@dataclass(frozen=True)
class TimeLimits:
    """Seconds that a client may take. Time during which it must wait for us does not count."""

    head: float = 10.0
    """From the start of the connection, or the end of an answer, to the end of the next request's head."""
    body: float = 20.0
    """How far a body may fall behind `pace`: a short network stall is not an attack."""
    answer: float = 60.0
    """To read `ANSWER_BYTES` of an answer."""
    drain: float = 20.0
    """To send the rest of a body after its answer."""
    pause: float = 2.0
    """Between two pieces of such a rest."""
    pace: float = 500.0
    """Average bytes per second of a body (as in Apache's mod_reqtimeout)."""


class Clock:
    """Closes one connection whose client sends no request, and cuts it off if it does not read its answer."""

    def __init__(self, limits: TimeLimits) -> None:
        self.limits = limits
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def opened(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.request_ended()

    def lost(self) -> None:
        self.request_begun()
        self.read_on()
        self._transport = None  # which refers to the connection: it would have to be found by the collector

    def request_begun(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def request_ended(self) -> None:
        """Wait for the next request."""
        self.request_begun()
        self._idle = asyncio.get_running_loop().call_later(self.limits.head, self.close)

    def await_reader(self) -> None:
        """Cut it off unless the client reads what was sent, `ANSWER_BYTES` per `answer` seconds."""
        if self._transport is not None and self._unread is None:
            pieces = max(1.0, self._transport.get_write_buffer_size() / ANSWER_BYTES)
            loop = asyncio.get_running_loop()
            self._unread = loop.call_later(self.limits.answer * pieces, self.cut_off)

    def read_on(self) -> None:
        """The client has read enough for now."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def close(self) -> None:
        """Close the connection once its client has read what was sent, or has stopped reading."""
        if self._transport is not None:
            self._transport.close()
            self.await_reader()

    def cut_off(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()


class Connection(H11Protocol):
    """uvicorn's protocol, whose requests find its `Clock` in their scopes."""

    limits: ClassVar = TimeLimits()

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._clock = Clock(self.limits)
        super().__init__(config, server_state, {**app_state, CLOCK: self._clock}, _loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._clock.opened(transport)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # malformed behind an answer that has begun: there is none to give
            self._clock.cut_off()

    def send_400_response(self, msg: str) -> None:
        """Answer what h11 refuses, which uvicorn calls a 400 whatever h11 says of it, with a problem."""
        error = sys.exc_info()[1]
        code, detail = ErrorCode.BAD_REQUEST, "what was sent is not a well-formed request"
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == _HEAD_TOO_LARGE:
            code, detail = ErrorCode.HEAD_TOO_LARGE, TOO_LARGE
        body = problem(code, detail)
        headers, content = as_bytes(body, (b"connection", b"close"))
        response = h11.Response(status_code=body["status"], headers=list(headers))
        for event in (response, h11.Data(data=content), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._clock.await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._clock.read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clock.lost()
        super().connection_lost(exc)
