"""One connection of the server.

uvicorn parses with h11: it limits a head and everything else that is not content (`guard.MAX_HEAD_BYTES`),
drops trailers, and reads no request behind one that is being answered. Two waits without end are ended here,
for an unfinished head and for an answer to be read; those of a request by its `Exchange`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from app.server.clock import CLOCK, Clock, TimeLimits
from app.server.guard import TOO_LARGE
from app.server.refusing import CLOSE, as_bytes
from core.errors import problem
from masktune.contract.problems import PROBLEM_KINDS, ErrorCode

_HEAD_TOO_LARGE = PROBLEM_KINDS[ErrorCode.HEAD_TOO_LARGE].status


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
        headers, content = as_bytes(body, CLOSE)
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
