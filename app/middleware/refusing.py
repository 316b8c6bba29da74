"""A problem in place of an answer, said by what stands before the application."""

from __future__ import annotations

import json

from starlette.types import Scope, Send

from core.errors import MasktuneError, problem

Header = tuple[bytes, bytes]


async def refuse(scope: Scope, send: Send, kind: type[MasktuneError], detail: str, *more: Header) -> None:
    """Answer the request with this problem; `more` are further headers."""
    body = json.dumps(problem(kind, detail, instance=scope["path"])).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
