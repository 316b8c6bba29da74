"""Limits the size of bodies: refuses by Content-Length at once, otherwise at the first byte too many."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.headers import header
from app.server.middleware.refusing import refuse
from core.errors import PayloadTooLarge

LimitOf = Callable[[Scope], int]
"""Returns the limit, in bytes, for the body of this request."""


class _TooLarge(Exception):
    """Stops whatever is reading the body; the client never sees it in this form."""


class BodyLimit:
    """Counts a body as it streams in. A response that has already begun is cut off, not mixed with a 413."""

    def __init__(self, app: ASGIApp, limit_of: LimitOf) -> None:
        self.app, self.limit_of = app, limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = self.limit_of(scope)
        declared = header(scope, b"content-length")
        if declared.isdigit() and int(declared) > limit:
            return await _refuse(scope, send, limit)
        await _Counted(self.app, limit).run(scope, receive, send)
        return None


class _Counted:
    """One request and its byte count."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit
        self.received = 0
        self.started = False

    @property
    def over(self) -> bool:
        return self.received > self.limit

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counting() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                self.received += len(message.get("body", b""))
                if self.over:
                    raise _TooLarge
            return message

        async def guarded(message: Message) -> None:
            # Frameworks send their own response to an exception raised while they read a body: drop it.
            if self.over and not self.started:
                return
            self.started = self.started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, counting, guarded)
        except _TooLarge:
            if self.started:
                raise
        if self.over and not self.started:
            await _refuse(scope, send, self.limit)


async def _refuse(scope: Scope, send: Send, limit: int) -> None:
    detail = f"the body may have at most {limit} bytes; send less, or ask the operator to raise the limit"
    await refuse(scope, send, PayloadTooLarge, detail, (b"connection", b"close"))
