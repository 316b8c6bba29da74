"""No body grows past its limit: refused by its Content-Length at once, else at the first byte over."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.headers import header
from app.middleware.refusing import refuse
from core.errors import PayloadTooLarge

LimitOf = Callable[[Scope], int]
"""The most bytes that the body of this request may have."""


class _TooLarge(Exception):
    """Ends whoever is reading the body; it never reaches the client in this shape."""


class BodyLimit:
    """Counts a body as it streams in. An answer that the application had begun is cut off, not mixed."""

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
    """One request under its limit."""

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
            # Frameworks answer in their own way to what is raised while they read a body: drop that.
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
    detail = f"the body may have {limit} bytes at most; send less, or ask the operator to raise the limit"
    # The rest of the body is not read: the connection cannot go on.
    await refuse(scope, send, PayloadTooLarge, detail, (b"connection", b"close"))
