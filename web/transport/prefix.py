"""Applies a proxy's path prefix from its header, as if the server had been configured with it."""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

_HEADER = "X-Forwarded-Prefix"
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
"""A prefix is inserted into URLs in pages, so it must not end an attribute or name another host (`//…`)."""


class ForwardedPrefix:
    """Adds `X-Forwarded-Prefix` to ASGI's `root_path` unless it is there already.

    NiceGUI would concatenate the two and prepend the header to addresses that already have it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = _rooted(scope)
        await self.app(scope, receive, send)


def _rooted(scope: Scope) -> Scope:
    headers = MutableHeaders(raw=list(scope["headers"]))
    root = scope.get("root_path", "")
    prefix = headers.get(_HEADER, "").rstrip("/").removesuffix(root)
    if not _PREFIX.fullmatch(prefix):
        prefix = ""
    del headers[_HEADER]
    return {**scope, "headers": headers.raw, "root_path": prefix + root, "path": prefix + scope["path"]}
