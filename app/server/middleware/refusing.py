"""Problem responses of the code that runs before the application."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import Scope, Send

from core.errors import problem
from masktune.contract.problems import ErrorCode

Header = tuple[bytes, bytes]


def as_bytes(problem: Mapping[str, Any], *more: Header) -> tuple[Sequence[Header], bytes]:
    """Return headers and body of a response with this problem; `more` are further headers."""
    body = json.dumps(problem).encode()
    length = (b"content-length", str(len(body)).encode())
    return ((b"content-type", b"application/problem+json"), length, *more), body


async def refuse(scope: Scope, send: Send, code: ErrorCode, detail: str, *more: Header) -> None:
    """Answer the request with this problem; `more` are further headers."""
    body = problem(code, detail, instance=scope["path"])
    headers, content = as_bytes(body, *more)
    await send({"type": "http.response.start", "status": body["status"], "headers": headers})
    await send({"type": "http.response.body", "body": content})
