"""The path prefix of a proxy, from its header: all that is behind sees it as if the server had been told."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_HEADER = b"x-forwarded-prefix"
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
"""It becomes part of addresses in pages: nothing that ends a text there, and no other host (`//…`)."""


class Prefixed:
    """Makes `X-Forwarded-Prefix` part of ASGI's `root_path`, where it is not already.

    NiceGUI would add the two, and put the header before addresses that have it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = _rooted(scope)
        await self.app(scope, receive, send)


def _rooted(scope: Scope) -> Scope:
    sent = [value for name, value in scope["headers"] if name == _HEADER]
    if not sent:
        return scope
    root = scope.get("root_path", "")
    added = sent[0].decode("latin-1").rstrip("/").removesuffix(root)
    if not _PREFIX.fullmatch(added):
        added = ""
    headers = [(name, value) for name, value in scope["headers"] if name != _HEADER]
    return {**scope, "headers": headers, "root_path": added + root, "path": added + scope["path"]}
