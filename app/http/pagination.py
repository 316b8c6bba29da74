"""Opaque cursors: the last entry's place in the order, as (created_at, id), so that pages never shift."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from core.errors import InvalidInput
from core.queries.rows import Row
from masktune.contract.base import Page

Limit = Annotated[int, Query(ge=1, le=100, description="Most entries in the page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the last page; opaque.")]
DEFAULT_LIMIT = 20
_ID = re.compile(r"[a-z0-9_./]{1,64}")  # of a row, or the name of a network: `timm/resnet18`

Item = TypeVar("Item")


def encode(at: float, last: str) -> str:
    """Return the cursor after this entry."""
    return _pack([at, last])


def decode(cursor: str | None) -> tuple[float, str] | None:
    """Decode a cursor of `encode`; None without a cursor. Raises `InvalidInput` for anything else."""
    if cursor is None:
        return None
    match _unpack(cursor):
        case [float(at), str(last)] if math.isfinite(at) and _ID.fullmatch(last):
            return at, last
    raise _invalid()


def encode_number(number: int) -> str:
    """Return the cursor after a numbered entry: a sample's row or an event's number."""
    return _pack([number])


def decode_number(cursor: str | None) -> int | None:
    """Decode a cursor of `encode_number`; None without a cursor. Raises `InvalidInput` for anything else."""
    if cursor is None:
        return None
    match _unpack(cursor):
        case [int(number)] if not isinstance(number, bool) and 0 <= number < 2**63:
            return number
    raise _invalid()


def page(rows: Sequence[Row], limit: int, describe: Callable[[Row], Item]) -> Page[Item]:
    """Make a page of `limit + 1` queried rows, with the cursor of the next one if there is more."""
    entries = rows[:limit]
    more = len(rows) > limit
    return Page(
        data=[describe(row) for row in entries],
        next_cursor=encode(entries[-1].created_at, entries[-1].id) if more else None,
    )


def _pack(place: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _unpack(cursor: str) -> object:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        place: object = json.loads(raw)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _invalid() from error
    return place


def _invalid() -> InvalidInput:
    return InvalidInput.field(
        "?cursor", "invalid-cursor", "use the next_cursor of a page unchanged, or leave out the cursor"
    )
