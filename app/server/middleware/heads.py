"""`HEAD` wherever there is `GET` (RFC 9110, 9.3.2): the same response without its body."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _Enough(Exception):
    """Stops an application that sends a body in parts: a stream may be endless, and a file has many parts."""


class Heads:
    """Passes `HEAD` to the application as `GET`, so that routes and OpenAPI only need to define `GET`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self.app(scope, receive, send)

        async def bodiless(message: Message) -> None:
            if message["type"] == "http.response.start":
                return await send(message)
            await send({"type": "http.response.body"})
            if message.get("more_body", False):
                raise _Enough
            return None

        as_get = {**scope, "method": "GET"}
        try:
            await self.app(as_get, receive, bodiless)
        except _Enough:
            pass
        finally:
            scope["route"] = as_get.get("route")  # for the log and the metrics
        return None
