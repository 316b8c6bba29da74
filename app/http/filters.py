"""Filters that the lists of data sets, jobs and models share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from app.http.validation import invalid_input
from core.queries.rows import Filters
from masktune.contract.base import MOST_METADATA, KeyRef, Metadata, Word

_PREFIX = "metadata."
_METADATA: TypeAdapter[dict[str, str]] = TypeAdapter(Metadata)

METADATA_FILTER: dict[str, Any] = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "description": "`metadata.KEY=TEXT`: only those whose metadata have exactly this pair. Of "
            "several, all must be there.",
            "style": "form",
            "explode": True,
            "schema": {
                "type": "object",
                "propertyNames": {"pattern": r"^metadata\..+"},
                "additionalProperties": {"type": "string", "maxLength": 200},
                "maxProperties": MOST_METADATA,
            },
            "example": {"metadata.site": "Bern"},
        }
    ]
}
"""For a route's `openapi_extra`. An exploded object declares parameters by a pattern of their names."""


async def _filters(
    request: Request,
    name: Annotated[Word | None, Query(description="Only those with exactly this name.")] = None,
    created_by: Annotated[
        KeyRef | None, Query(description="Only those created by the key of this id.")
    ] = None,
    created_after: Annotated[
        AwareDatetime | None, Query(description="Only those created at this moment (RFC 3339) or later.")
    ] = None,
    created_before: Annotated[
        AwareDatetime | None, Query(description="Only those created before this moment (RFC 3339).")
    ] = None,
) -> Filters:
    return Filters(
        name=name,
        created_by=created_by,
        metadata=_metadata(request),
        created_after=None if created_after is None else created_after.timestamp(),
        created_before=None if created_before is None else created_before.timestamp(),
    )


def _metadata(request: Request) -> dict[str, str]:
    """The pairs of `?metadata.KEY=TEXT`, checked as in an edit."""
    query = request.query_params.items()
    pairs = {name.removeprefix(_PREFIX): text for name, text in query if name.startswith(_PREFIX)}
    try:
        return _METADATA.validate_python(pairs)
    except ValidationError as error:
        faults = [
            fault | {"loc": ("query", ".".join(("metadata", *map(str, fault["loc"][:1]))))}
            for fault in error.errors()
        ]
        raise invalid_input(faults, None) from error


FiltersDep = Annotated[Filters, Depends(_filters)]
