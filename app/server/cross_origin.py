"""Tells browsers which pages of other sites may call the API (CORS, of the Fetch standard).

Starlette's middleware would be in front of the edge, and answer preflights that `Guard` has not seen, or
behind it, and no page could read what the edge refuses.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import Scope

from app.http.headers import header
from app.server.refusing import Header

PREFLIGHT = Response(
    status_code=204,
    headers={
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "Access-Control-Allow-Headers": "Authorization, *",  # `*` is any but the first
        "Access-Control-Max-Age": "600",
    },
)
"""The answer to a preflight of an allowed page, but for `CrossOrigin.headers`."""
_VARY: Header = (b"vary", b"Origin")


class CrossOrigin:
    """The allowed origins. No cookie or password of a browser is for their pages, which send a key."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._headers: dict[bytes, tuple[Header, ...]] = {
            origin: (
                _VARY,
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", b"*"),
            )
            for origin in map(str.encode, origins)
        }

    def headers(self, scope: Scope) -> tuple[Header, ...]:
        """Return what every answer has, so that a page of an allowed origin can read it."""
        return self._headers.get(header(scope, b"origin"), (_VARY,))

    def is_preflight(self, scope: Scope) -> bool:
        """Whether a browser asks, before its request, on behalf of an allowed page."""
        return (
            scope["method"] == "OPTIONS"
            and header(scope, b"origin") in self._headers
            and header(scope, b"access-control-request-method") != b""
        )
