"""Pointers lead to where the fault is."""

import re
from typing import Any

import pytest
from pydantic import BaseModel, Field

from app.http.validation import invalid_input, parse, parse_json
from core.errors import InvalidInput
from masktune.contract.base import Edit, Strict, storable
from masktune.contract.job_requests import PredictRequest


class Inner(Strict):
    name: str
    rates: list[float] = Field(default=[])
    counts: list[int] = Field(default=[])


class Body(Strict):
    inner: Inner | None = None
    either: bool | str | None = None
    number: int = 0


def pointers(kind: type[BaseModel], body: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as refused:
        parse(kind, body)
    return [(error.pointer, error.code) for error in refused.value.errors]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"inner": {}}, [("/inner/name", "missing")]),
        ({"inner": {"name": "a", "rates": [1.0, "x"]}}, [("/inner/rates/1", "float-type")]),
        ({"inner": {"name": "a", "b/c~": 1}}, [("/inner/b~1c~0", "unknown-field")]),
        ({"either": 3}, [("/either", "bool-type"), ("/either", "string-type")]),
        ({"number": "7"}, [("/number", "int-type")]),
        ({"number": True}, [("/number", "int-type")]),
        ({"number": 7.5}, [("/number", "int-type")]),
        ([], [("/", "model-type")]),
    ],
)
def test_pointers_into_a_body(body: Any, expected: list[tuple[str, str]]) -> None:
    assert pointers(Body, body) == expected


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"numbr": 1}, "/numbr: unknown field; did you mean number?"),
        ({"inner": {"name": "a", "rate": []}}, "/inner/rate: unknown field; did you mean rates?"),
        (
            {"inner": {"name": "a", "either": 1}},
            "/inner/either: unknown field; GET /openapi.json",
        ),
    ],
)
def test_an_unknown_field_names_the_one_beside_it_that_was_meant(body: Any, detail: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(detail)):
        parse(Body, body)


@pytest.mark.parametrize("body", [{"number": 15.0}, {"inner": {"name": "a", "counts": [15.0]}}])
def test_a_whole_number_may_have_a_fraction_of_zero(body: dict[str, Any]) -> None:
    parsed = parse(Body, body)
    assert repr(parsed.inner.counts[0] if parsed.inner else parsed.number) == "15"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_invalid_input(body: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_json(Body, body)
    assert refused.value.errors[0].code == "malformed-json"


@pytest.mark.parametrize(
    ("place", "pointer"), [("query", "?limit"), ("path", "{limit}"), ("header", "limit:"), ("body", "/")]
)
def test_pointers_beside_the_body(place: str, pointer: str) -> None:
    fault = {"loc": (place, "limit"), "type": "int_parsing", "msg": "not a number"}
    assert invalid_input([fault], None).errors[0].pointer == pointer


@pytest.mark.parametrize(
    "value", ["a\0b", {"a": ["\ud800"]}, float("nan"), [float("-inf")], {"\0": 1}, 2**63]
)
def test_what_a_database_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        storable(value)


def test_what_our_own_checks_say_is_told_in_their_words() -> None:
    with pytest.raises(InvalidInput, match="/metadata/k: must be one line without controls"):
        parse(Edit, {"metadata": {"k": "\0"}})


def test_a_batch_prediction_has_one_policy() -> None:
    fields = {"model": "best", "coverage": 0.9, "max_risk": 0.1}
    assert pointers(PredictRequest, fields) == [("/", "one-policy")]
    assert pointers(PredictRequest, {"model": "best", "risk_confidence": 0.9}) == [("/", "needs-max-risk")]
    by_class = {"model": "best", "max_class_risk": 0.1, "max_missed": 0.1, "risk_confidence": 0.9}
    assert parse(PredictRequest, by_class) == PredictRequest.model_validate(by_class)
    assert pointers(PredictRequest, by_class | {"min_score": 0.5}) == [("/", "one-policy")]
