"""More predictions in flight than could wait for the engine: refused before anything looks at them.

Where a network is small the event loop is what overload fills, not the engine's queue. A refusal must cost
a small part of an answer then, or twice the rate would leave no time for answers, nor for /livez.
"""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import Overloaded, problem

_PATHS = ("/predict", "/saliency")


class Admission:
    """Lets `most` requests for predictions and maps in at a time, and answers 503 to the others at once."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith(
            _PATHS
        ):  # a prefix of a proxy may be before it
            return await self.app(scope, receive, send)
        if self.inside >= self.most:
            return await self._refuse(scope, send)
        self.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.inside -= 1
        return None

    async def _refuse(self, scope: Scope, send: Send) -> None:
        detail = f"{self.inside} requests are being answered already; try again in 1 s"
        body = json.dumps(problem(Overloaded, detail, instance=scope["path"])).encode()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", b"1"),
        ]
        await send({"type": "http.response.start", "status": Overloaded.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
