"""Times as the API writes them, and the names it accepts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from masktune.contract.base import ONE_LINE, ClassName, Edit, Metadata, Name, Word, rfc3339


def test_times_are_utc() -> None:
    assert rfc3339(datetime.fromtimestamp(0.5, UTC)) == "1970-01-01T00:00:00.500Z"


@pytest.mark.parametrize("name", ["a\n", "a\x85", "a\nb", "a\u2028b", "a\u202egnp", "a\u2066b", "a\u200fb"])
def test_a_class_name_is_one_line_without_direction_marks(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ClassName).validate_python(name)
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)
    for pairs in ({name: "x"}, {"x": name}):
        with pytest.raises(ValidationError):
            TypeAdapter(Metadata).validate_python(pairs)


def test_class_names_of_other_scripts_pass() -> None:
    for name in ("猫", "קו", "0-4", "=1+1"):
        assert TypeAdapter(ClassName).validate_python(name) == name


def test_the_schema_of_a_text_says_that_it_has_no_nul() -> None:
    assert TypeAdapter(Word).json_schema().items() >= {"pattern": r"^[^\x00]*$"}.items()


def test_the_schema_of_metadata_says_that_they_are_on_one_line() -> None:
    pairs = Edit.model_json_schema()["properties"]["metadata"]["anyOf"][0]
    assert pairs["propertyNames"].items() >= {"pattern": ONE_LINE}.items()
    assert pairs["additionalProperties"]["anyOf"][0].items() >= {"pattern": ONE_LINE}.items()
