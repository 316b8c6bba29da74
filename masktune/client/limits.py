"""The service's size limits, checked before an upload is sent."""

from __future__ import annotations

from pathlib import Path

from masktune.client.calls import call, get
from masktune.client.errors import TooLarge
from masktune.client.uploads import size_of
from masktune.client.wire import Flow
from masktune.contract.operations import Limits

ASKED_ABOVE = 1 << 20
"""Bytes. Smaller uploads are sent without checking the limit first."""


def service_limits() -> Flow[Limits]:
    """Get the size limits for uploads and images. Needs no key."""
    return call(get("/limits"), Limits)


def check_upload(path: Path) -> Flow[None]:
    """Raise `TooLarge` for a file or a folder above the service's size limit."""
    size = size_of(path)
    if size <= ASKED_ABOVE:
        return
    limit = (yield from service_limits()).max_upload_bytes
    if size > limit:
        raise TooLarge(path.name, size, limit)
