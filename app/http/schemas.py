"""Types shared by the shapes of several resources."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, Field, PlainSerializer, WithJsonSchema

Item = TypeVar("Item")


def rfc3339(seconds: float) -> str:
    """Format seconds since 1970 as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[
    float,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2025-11-03T09:30:00.000Z"]}),
]
"""Seconds since 1970, as in the database; serialised as RFC 3339 in UTC."""


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    data: list[Item]
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")
