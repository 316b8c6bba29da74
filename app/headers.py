"""Headers of a request as they lie in its scope: for what looks at every request."""

from __future__ import annotations

import random

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of this (lower case) name, or nothing. Starlette's own look-up encodes and copies."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return b""


def new_request_id() -> str:
    """16 hex digits. Ids are told apart, not kept secret: the kernel's random numbers would cost more."""
    return f"{random.getrandbits(64):016x}"  # nosec B311  # no secret
