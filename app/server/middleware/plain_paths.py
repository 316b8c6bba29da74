"""Refuses paths with control characters, before anything compares them.

`$` in the patterns of Starlette's routes also matches before a final line break: they take `/predict%0a` for
`/predict`, while `Admission`, `BodyLimit` and the dashboard compare whole paths and see another one. None of
our addresses has such a character.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.middleware.refusing import refuse
from core.errors import NOTHING_HERE, NotFound

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_POLICY_VIOLATION = 1008
"""Close code of a web socket (RFC 6455, 7.4.1)."""


class PlainPaths:
    """Answers paths with a control character, decoded, as any other address where there is nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or is_plain(scope["path"]):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await refuse(scope, send, NotFound, NOTHING_HERE)


def is_plain(path: str) -> bool:
    """Whether this decoded path has no control character."""
    return _CONTROL.search(path) is None
