"""Filters of lists: those of data sets, jobs and models, and pairs of metadata, for samples too."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime, BeforeValidator, TypeAdapter, ValidationError

from app.http.validation import invalid_input
from core.queries.rows import Filters
from masktune.contract.base import BARRED, MOST_METADATA, ONE_LINE, CallerRef, Metadata, Word

_PREFIX = "metadata."
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_METADATA: TypeAdapter[dict[str, str]] = TypeAdapter(Metadata)


def _metadata_filter(description: str, *, barred: str, **limits: Any) -> dict[str, Any]:
    """For a route's `openapi_extra`. An exploded object declares parameters by a pattern of their names."""
    parameter = {
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
