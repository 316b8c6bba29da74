"""A problem in place of an answer, said by what stands before the application."""

from __future__ import annotations

import json

from starlette.types import Scope, Send

from app.locations import location
from core.errors import PROBLEM_BASE, MasktuneError, problem

Header = tuple[bytes, bytes]


async def refuse(scope: Scope, send: Send, kind: type[MasktuneError], detail: str, *more: Header) -> None:
    """Answer the request with this problem; `more` are further headers."""
    base = location(scope.get("root_path", ""), PROBLEM_BASE)
    body = json.dumps(problem(kind, detail, instance=scope["path"], base=base)).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
