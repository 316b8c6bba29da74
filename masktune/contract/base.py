"""Types that the requests and answers of several resources share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints


class Strict(BaseModel):
    """A request body: an unknown field is an error, and so is a number in quotes."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


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
Word = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]
Options = Annotated[dict[str, Any], Storable]
"""A JSON object that every supported database can store."""

Split = Literal["train", "val", "calibration", "test", "no_fg", "only_bg_b", "only_bg_t"]
"""Splits of a data set; the last three are the Background Challenge's images without an object."""

DatasetRef = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^ds_[0-9a-z]+$")]
JobRef = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^job_[0-9a-z]+$")]
ModelRef = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]
"""An id or an alias."""
