"""Types that the requests and answers of several resources share."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from masktune.contract.vocabulary import (
    AbstainReason,
    Arm,
    EstimateSource,
    EventType,
    JobKind,
    Scope,
    SelectionStatus,
    Stage,
    WebhookEvent,
    WeightsPlace,
)

Item = TypeVar("Item")
Json = dict[str, JsonValue]


def whole(number: Any) -> Any:
    """Return 15 for 15.0, which JSON Schema takes for the same integer; anything else as it is."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


class Strict(BaseModel):
    """A request body: an unknown field is an error, and so is a number in quotes."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read_integers(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        return {
            name: [whole(element) for element in entry] if isinstance(entry, list) else whole(entry)
            for name, entry in body.items()
        }


class Query(BaseModel):
    """Query parameters. An unknown one is an error: a misspelt policy must not be ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


def storable(json: Any) -> Any:
    """Refuse what a database cannot store in JSON: NUL, lone surrogates, NaN, infinities, large integers."""
    match json:
        case str():
            if "\0" in json or any("\ud800" <= c <= "\udfff" for c in json):
                raise ValueError("must not contain a NUL character or a lone surrogate")
        case float():
            if not math.isfinite(json):
                raise ValueError("must be a finite number")
        case dict():
            for entry in (*json, *json.values()):
                storable(entry)
        case list():
            for entry in json:
                storable(entry)
        case int():
            if abs(json) >= 2**63:
                raise ValueError("must fit in 64 bits")
    return json


NO_NUL = r"^[^\x00]*$"


@dataclass(frozen=True)
class _Storable:
    """`storable`, and in the JSON schema of a text without a pattern: that it has no NUL."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(storable, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        text = handler(schema)
        return {"pattern": NO_NUL} | text if text.get("type") == "string" else text


Storable = _Storable()
"""Must come after other constraints, which would otherwise be missing from the JSON schema."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]
Options = Annotated[dict[str, Any], Storable]
"""A JSON object that every supported database can store."""

BARRED = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""Line breaks, controls, and characters that turn the text around them around, as a pattern has them."""
ONE_LINE = f"^[^{BARRED}]*$"
"""Text without `BARRED` characters."""
_NOT_BLANK = rf"^[^{BARRED}]*[^{BARRED}\s][^{BARRED}]*$"
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=ONE_LINE), Storable]
MOST_NAME = 100
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MOST_NAME, pattern=_NOT_BLANK),
    Storable,
    AfterValidator(str.strip),  # by `strip_whitespace`, what the pattern refuses would be taken at the ends
]


def _on_one_line(key: str) -> str:
    """Not by a pattern, of which Pydantic makes `patternProperties`, which allow other keys."""
    if re.search(f"[{BARRED}]", key):
        raise ValueError("must be one line without controls and marks that turn text around")
    return key


def _say_one_line(schema: dict[str, Any]) -> None:
    schema["propertyNames"]["pattern"] = ONE_LINE


MetadataKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=40),
    AfterValidator(storable),
    AfterValidator(_on_one_line),
]
MetadataText = Annotated[
    str,
    StringConstraints(max_length=200),
    AfterValidator(_on_one_line),
    Field(json_schema_extra={"pattern": ONE_LINE}),
    Storable,
]
MOST_METADATA = 16
_KEYS = Field(json_schema_extra=_say_one_line)
Metadata = Annotated[dict[MetadataKey, MetadataText], Field(max_length=MOST_METADATA), _KEYS]
"""What a user notes about a resource, as pairs of a key and a text."""


class Edit(Strict):
    """A JSON merge patch (RFC 7396) of what users may change: a field that is left out stays as it is."""

    name: Name | None = Field(None, description="Null removes it.")
    metadata: Annotated[dict[MetadataKey, MetadataText | None], _KEYS] | None = Field(
        None,
        description=f"Pairs to add or change, {MOST_METADATA} in all; null removes one, or all of them.",
    )


class DatasetEdit(Edit):
    """The same for a data set, which always has a name."""

    name: Name = Field(default_factory=str)


DatasetRef = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^ds_[0-9a-z]+$")]
JobRef = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^job_[0-9a-z]+$")]
CallerRef = Annotated[str, StringConstraints(max_length=64, pattern=r"^(key_[0-9a-z]+|user:[ -~]+)$")]
"""The id of a key, or `user:` and the name of a person."""
ModelRef = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]
"""An id or an alias."""

Address = Annotated[
    str, StringConstraints(min_length=1, max_length=2000, pattern=r"^(file|s3)://[^\x00]*$"), Storable
]
"""Of files that the service can reach itself."""

File = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary", "minLength": 1})]
"""A part of a form; the service reads it as a stream."""


# --- answers -------------------------------------------------------------------------------------------


class Shape(BaseModel):
    """The base of all answers: frozen. Fields that a newer service adds are kept; a field that an older one
    does not send has its default."""

    model_config = ConfigDict(
        frozen=True, extra="allow", protected_namespaces=(), json_schema_serialization_defaults_required=True
    )


class Resource(Shape):
    """What data sets, jobs and models have in common."""

    id: str
    name: str | None = Field(None, description="As its users call it.")
    metadata: dict[str, str] = Field({}, description="Its users' own notes.")
    created_by: str | None = Field(
        None,
        description="Id of the key that created it, or `user:` and the name of the person; null for a key of "
        "the operator, or without keys.",
    )
    occupies: int | None = Field(
        None,
        description="Bytes of its own files in the store; null if there are none yet. Of a job: what its "
        "finished stages have written beside its models, whose checkpoints go with them. Of a data set: its "
        "images and their index, and its upload until it is `ready`.",
    )


class Page(Shape, Generic[Item]):
    """A page of a list."""

    data: list[Item]
    next_cursor: str | None = Field(None, description="The `cursor` of the next page; null on the last page.")


def rfc3339(moment: datetime) -> str:
    """Format a moment as RFC 3339 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2025-11-03T09:30:00.000Z"]}),
]
"""A moment; serialised as RFC 3339 in UTC."""


class Open:
    """An enumeration of which a newer service may know more members: those are read as text, and the API's
    document lists ours."""

    def __init__(self, members: Any) -> None:
        self.members = members

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices: list[CoreSchema | tuple[CoreSchema, str]] = [
            handler.generate_schema(self.members),
            core_schema.str_schema(),
        ]
        return core_schema.union_schema(choices, mode="left_to_right")

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        members: dict[str, Any] = handler(schema)["anyOf"][0]
        return members


AbstainReasonName = Annotated[AbstainReason | str, Open(AbstainReason)]
ArmName = Annotated[Arm | str, Open(Arm)]
EstimateSourceName = Annotated[EstimateSource | str, Open(EstimateSource)]
EventTypeName = Annotated[EventType | str, Open(EventType)]
KindName = Annotated[JobKind | str, Open(JobKind)]
ScopeName = Annotated[Scope | str, Open(Scope)]
SelectionStatusName = Annotated[SelectionStatus | str, Open(SelectionStatus)]
StageName = Annotated[Stage | str, Open(Stage)]
WebhookEventName = Annotated[WebhookEvent | str, Open(WebhookEvent)]
WeightsPlaceName = Annotated[WeightsPlace | str, Open(WeightsPlace)]
