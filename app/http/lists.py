"""What lists take: filters of data sets, jobs, models and samples; and opaque cursors: the last entry's place
in the order, as (created_at, id), so that pages never shift."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime, BeforeValidator, TypeAdapter, ValidationError

from app.http.validation import invalid_input
from core.errors import InvalidInput
from core.queries.rows import Filters, Row
from masktune.contract.base import BARRED, MOST_METADATA, ONE_LINE, CallerRef, Json, Metadata, Page, Word

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


_PREFIX = "metadata."
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_METADATA: TypeAdapter[dict[str, str]] = TypeAdapter(Metadata)


def _metadata_filter(description: str, *, barred: str, **limits: Any) -> Json:
    """For a route's `openapi_extra`. An exploded object declares parameters by a pattern of their names."""
    parameter: Json = {
        "name": "metadata",
        "in": "query",
        "description": description,
        "style": "form",
        "explode": True,
        "schema": {"type": "object", "propertyNames": {"pattern": rf"^metadata\.[^{barred}]+$"}, **limits},
        "example": {"metadata.site": "Bern"},
    }
    return {"parameters": [parameter]}


METADATA_FILTER = _metadata_filter(
    "`metadata.KEY=TEXT`: only those whose metadata have exactly this pair. Of several, all must be there.",
    barred=BARRED,
    additionalProperties={"type": "string", "maxLength": 200, "pattern": ONE_LINE},
    maxProperties=MOST_METADATA,
)
SAMPLE_METADATA_FILTER = _metadata_filter(
    "`metadata.NAME=VALUE`: only samples with this text or number in the column `meta:NAME`, or with an "
    "empty cell for an empty `VALUE`. Of several, all must hold.",
    barred=r"\x00",
    additionalProperties={"type": "string"},
)


async def _pairs(request: Request) -> dict[str, str]:
    """The pairs of `?metadata.KEY=TEXT`."""
    query = request.query_params.items()
    return {name.removeprefix(_PREFIX): text for name, text in query if name.startswith(_PREFIX)}


MetadataPairs = Annotated[dict[str, str], Depends(_pairs)]
"""By key, as they are in the query."""


def _require_date(text: str) -> str:
    if not _DATE.match(text):
        raise ValueError("must be a moment as in RFC 3339: 2025-11-03T09:30:00Z")
    return text


_Moment = Annotated[AwareDatetime, BeforeValidator(_require_date)]
"""Not the seconds since 1970 that Pydantic would take as well."""
CreatedAfter = Annotated[
    _Moment | None, Query(description="Only those created at this moment (RFC 3339) or later.")
]
CreatedBefore = Annotated[
    _Moment | None, Query(description="Only those created before this moment (RFC 3339).")
]


def seconds(moment: datetime | None) -> float | None:
    """Seconds since 1970, as the tables have them."""
    return None if moment is None else moment.timestamp()


async def _filters(
    pairs: MetadataPairs,
    name: Annotated[Word | None, Query(description="Only those with exactly this name.")] = None,
    created_by: Annotated[
        CallerRef | None,
        Query(
            description="Only those created by the key of this id, or by the person: `user:` and the name."
        ),
    ] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    q: Annotated[
        Word | None,
        Query(
            description="Only those with this text in their name, their id, a text of their metadata or the "
            "name of their data set, in upper or lower case."
        ),
    ] = None,
) -> Filters:
    return Filters(
        name=name,
        created_by=created_by,
        metadata=_checked(pairs),
        created_after=seconds(created_after),
        created_before=seconds(created_before),
        q=q,
    )


def _checked(pairs: dict[str, str]) -> dict[str, str]:
    """The pairs, if they are such as an edit may set."""
    try:
        return _METADATA.validate_python(pairs)
    except ValidationError as error:
        faults = [
            fault | {"loc": ("query", ".".join(("metadata", *map(str, fault["loc"][:1]))))}
            for fault in error.errors()
        ]
        raise invalid_input(faults, None) from error


FiltersDep = Annotated[Filters, Depends(_filters)]
