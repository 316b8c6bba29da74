"""Limits the size of bodies: refuses by Content-Length at once, otherwise at the first byte too many."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.headers import has_body, header
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
        if scope["type"] != "http" or not has_body(scope):
            return await self.app(scope, receive, send)
        limit = self.limit_of(scope)
        declared = header(scope, b"content-length")
        if declared.isdigit() and int(declared) > limit:
            return await _refuse(scope, send, limit)
        received, started = 0, False

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLarge
            return message

        async def guarded_send(message: Message) -> None:
            # Frameworks send their own response to an exception raised while they read a body: drop it.
            nonlocal started
            if received <= limit or started:
                started = True
                await send(message)

        try:
            await self.app(scope, counted_receive, guarded_send)
        except _TooLarge:
            if started:
                raise
        if received > limit and not started:
            await _refuse(scope, send, limit)
        return None


async def _refuse(scope: Scope, send: Send, limit: int) -> None:
    detail = f"the body may have at most {limit} bytes; send less, or ask the operator to raise the limit"
    await refuse(scope, send, PayloadTooLarge.code, detail, (b"connection", b"close"))
