"""Ends a body that trickles; `Clock` ends an answer that is not read.

Around everything else. It also refuses heads that two servers may read in two ways, and lets an answer arrive
although its client is still sending the body.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.headers import NOT_A_HOST, has_body, has_host, header
from app.server.connection import CLOCK, MAX_HEAD_BYTES, TOO_LARGE, Clock
from app.server.middleware.refusing import Header, refuse
from masktune.contract.problems import ErrorCode

_DISCONNECT: Message = {"type": "http.disconnect"}
_CLOSE: Header = (b"connection", b"close")
Refusal = tuple[ErrorCode, str]
"""Status and detail of a problem."""


class WithinTime:
    """Applies the limits of a request's `Clock`. Requests that have none (another server) are passed on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        clock: Clock | None = scope.get("state", {}).get(CLOCK)
        if clock is None:
            return await self.app(scope, receive, send)
        clock.request_begun()
        is_http = scope["type"] == "http"
        refusal = _fault(scope) if is_http else None
        try:
            if refusal is not None or (is_http and has_body(scope)):
                await _Exchange(clock, scope, receive, send).run(self.app, refusal)
            else:
                await self.app(scope, receive, send)
        finally:
            clock.request_ended()
        return None


class _Exchange:
    """One request with a body, or one that is refused, and its answer."""

    def __init__(self, clock: Clock, scope: Scope, receive: Receive, send: Send) -> None:
        self._clock, self._limits, self._scope = clock, clock.limits, scope
        self._receive_piece, self._send_piece = receive, send
        self._loop = asyncio.get_running_loop()
        self._complete = not has_body(scope)
        """Whether the whole body has been received."""
        self._undecided = header(scope, b"expect").lower() == b"100-continue"
        """Whether the client waits to be told to send its body."""
        self._received = 0
        self._waited = 0.0
        self._started = self._ended = self._refused = False

    async def run(self, app: ASGIApp, refusal: Refusal | None) -> None:
        if refusal is None:
            await app(self._scope, self._receive, self._send)
        else:
            await self._refuse(*refusal)
        if self._ended:
            await self._drain()
            await self._send_piece({"type": "http.response.body"})

    async def _receive(self) -> Message:
        if self._refused:
            return _DISCONNECT
        self._undecided = False
        if self._complete:
            return await self._receive_piece()
        began = self._loop.time()
        try:
            late = self._limits.body + self._received / self._limits.pace - self._waited
            async with asyncio.timeout(late):
                message = await self._receive_piece()
        except TimeoutError:
            detail = f"the body arrived at less than {self._limits.pace:g} bytes/s; send it again, faster"
            await self._refuse(ErrorCode.REQUEST_TIMEOUT, detail)
            return _DISCONNECT
        self._waited += self._loop.time() - began
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return message

    async def _send(self, message: Message) -> None:
        """Hold back the end of an answer whose request is still arriving (`_drain`)."""
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self._started = True
            if self._undecided:  # the body may or may not follow: what comes next could be either
                self._complete = True
                message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
        elif not self._complete and not message.get("more_body", False):
            self._ended = True
            message = {**message, "more_body": True}
        await self._send_piece(message)

    async def _refuse(self, code: ErrorCode, detail: str) -> None:
        """Answer with a problem, or cut off an answer that has begun. To the application the client has
        disconnected."""
        if self._started:
            self._clock.cut_off()
        else:
            await refuse(self._scope, self._send_piece, code, detail, _CLOSE)
        self._refused = True

    async def _drain(self) -> None:
        """Receive the rest of the body. Closing with unread bytes would reset the connection, and the client
        might lose the answer (RFC 9112, 9.6)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain):
                while not self._complete:
                    async with asyncio.timeout(self._limits.pause):
                        message = await self._receive_piece()
                    self._complete = not message.get("more_body", False)
            return
        self._clock.close()


def _fault(scope: Scope) -> Refusal | None:
    """Return why a head is refused before anything reads it."""
    names = [name for name, _ in scope["headers"]]
    if scope["method"] == "CONNECT":
        return ErrorCode.BAD_REQUEST, "this server is not a proxy"
    if b"transfer-encoding" in names and b"content-length" in names:  # RFC 9112, 6.1
        return ErrorCode.BAD_REQUEST, "send either Content-Length or Transfer-Encoding"
    if not has_host(scope):
        return ErrorCode.BAD_REQUEST, NOT_A_HOST
    if header(scope, b"content-encoding").lower() not in (b"", b"identity"):
        return ErrorCode.UNSUPPORTED_MEDIA_TYPE, "send the body as it is, without Content-Encoding"
    size = len(scope.get("raw_path", b"")) + len(scope["query_string"])
    size += sum(len(name) + len(text) + 4 for name, text in scope["headers"])
    if size > MAX_HEAD_BYTES:
        return ErrorCode.HEAD_TOO_LARGE, TOO_LARGE
    return None
