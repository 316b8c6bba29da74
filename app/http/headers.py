"""Fast access to the headers in an ASGI scope, for code that runs on every request."""

from __future__ import annotations

import re

from starlette.types import Scope

REPLAYED = "Idempotency-Replayed"
"""The response is that of an earlier request with the same Idempotency-Key."""
NOT_A_HOST = "the header Host is not a name or an address with an optional port"

_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]{0,5})?")
"""Of RFC 3986, 3.2, without a user: a name, an IPv4 address or a bracketed IPv6 address, and a port."""


def header(scope: Scope, name: bytes) -> bytes:
    """Return the first header of this (lower-case) name, or `b""`. Starlette's look-up encodes and copies."""
    for key, content in scope["headers"]:
        if key == name:
            return bytes(content)
    return b""


def has_host(scope: Scope) -> bool:
    """Whether `Host` is a host with an optional port, or empty, as that of HTTP/1.0 may be."""
    return _AUTHORITY.fullmatch(header(scope, b"host")) is not None
