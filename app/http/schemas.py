"""Types shared by the shapes of several resources."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

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


Split = Literal["train", "val", "calibration", "test", "no_fg", "only_bg_b", "only_bg_t"]
"""Splits of a data set; the last three are the Background Challenge's images without an object."""


class Strict(BaseModel):
    """A request body: an unknown field is an error, and so is a number in quotes."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    data: list[Item]
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")


def storable(value: Any) -> Any:
    """Refuse what a database cannot store in JSON: NUL, lone surrogates, NaN, infinities, large integers."""
    match value:
        case str():
            if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
                raise ValueError("must not contain a NUL character or a lone surrogate")
        case float():
            if value != value or value in (float("inf"), float("-inf")):
                raise ValueError("must be a finite number")
        case dict():
            for key, item in value.items():
                storable(key)
                storable(item)
        case list():
            for item in value:
                storable(item)
        case int():
            if not isinstance(value, bool) and abs(value) >= 2**63:
                raise ValueError("must fit in 64 bits")
    return value


Storable = AfterValidator(storable)
"""Must come after other constraints, which would otherwise be missing from the JSON schema."""

Text = Annotated[str, Storable]
"""Text that every supported database can store."""

Options = Annotated[dict[str, Any], Storable]
"""A JSON object that every supported database can store."""
