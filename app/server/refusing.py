"""Problem responses of the code that runs before the application."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from masktune.contract.problems import ErrorCode

Header = tuple[bytes, bytes]
CLOSE: Header = (b"connection", b"close")
"""Ends the connection after the answer."""


class Refusal(NamedTuple):
    """Why a request is refused: code and detail of a problem, and further headers of its answer."""

    code: ErrorCode
    detail: str
    headers: tuple[Header, ...] = ()


def as_bytes(problem: Mapping[str, Any], *more: Header) -> tuple[Sequence[Header], bytes]:
    """Return headers and body of a response with this problem; `more` are further headers."""
    body = json.dumps(problem).encode()
    length = (b"content-length", str(len(body)).encode())
    return ((b"content-type", b"application/problem+json"), length, *more), body
