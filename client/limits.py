"""How large what is sent may be, asked before it is sent."""

from __future__ import annotations

from pathlib import Path

from client.calls import call, get
from client.errors import ProblemError, TooLarge
from client.shapes import Limits
from client.uploads import size_of
from client.wire import Flow

ASKED_ABOVE = 1 << 20
"""Bytes. What is smaller is refused as soon as it is sent."""


def service_limits() -> Flow[Limits]:
    """How large what is sent may be. It asks for no key."""
    return call(get("/limits"), Limits)


def check_upload(path: Path) -> Flow[None]:
    """Raise `TooLarge` for a file, or a folder, that the service would refuse by its size."""
    size = size_of(path)
    if size <= ASKED_ABOVE:
        return
    try:
        limit = (yield from service_limits()).max_upload_bytes
    except ProblemError as error:
        if error.status == 404:  # a service of before it told its limits
            return
        raise
    if size > limit:
        raise TooLarge(path.name, size, limit)
