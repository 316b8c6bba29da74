"""The order of keys in responses: known names as they are given, the others by name."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import pytest

from app.http.key_order import ARMS, BY_NAME, METRICS, SPLITS, each, of_fields, ordered
from masktune.contract.hyperparameters import Hyperparameters, RetrainConfig
from models.data.splits import Cut, SplitRecord
from models.shortcuts import BestClass, Finding, ShortcutCheck


def scrambled(value: Any) -> Any:
    """The same JSON with its keys as PostgreSQL returns them: by length, then by bytes."""
    if isinstance(value, dict):
        return {name: scrambled(value[name]) for name in sorted(value, key=lambda key: (len(key), key))}
    if isinstance(value, list):
        return [scrambled(one) for one in value]
    return value


def text(value: Any) -> str:
    return json.dumps(value)


def test_splits_and_arms_have_their_own_order() -> None:
    assert list(ordered({"test": 1, "no_fg": 2, "val": 3, "train": 4, "calibration": 5}, SPLITS)) == [
        "train",
        "val",
        "calibration",
        "test",
        "no_fg",
    ]
    assert list(ordered({"masktune_control": "c", "erm": "e", "masktune": "m"}, ARMS)) == [
        "erm",
        "masktune",
        "masktune_control",
    ]


def test_other_names_follow_in_natural_order() -> None:
    found = {"place 10": 1, "place 2": 2, "b": 3, "a": 4}
    assert list(ordered(found, each(("b",)))) == ["b", "a", "place 2", "place 10"]
    assert list(ordered(found)) == ["a", "b", "place 2", "place 10"]


def test_the_objects_below_are_ordered_too() -> None:
    figures = {"groups": {"g2": 1.0, "g10": 0.5}, "accuracy": 0.75, "new": 1, "balanced_accuracy": 0.5}
    found = ordered({"masktune": {"test": figures, "val": figures}, "erm": {"test": figures}}, METRICS)
    assert text(found["masktune"]) == text(
        {
            split: {
                "accuracy": 0.75,
                "balanced_accuracy": 0.5,
                "groups": {"g2": 1.0, "g10": 0.5},
                "new": 1,
            }
            for split in ("val", "test")
        }
    )
    assert list(found) == ["erm", "masktune"]


def test_nothing_but_the_order_changes() -> None:
    found: dict[str, Any] = {"b": [{"d": None, "c": [1, "x", {"f": 1, "e": 2}]}], "a": True}
    assert ordered(found, BY_NAME) == found
    assert text(ordered(found)) == text({"a": True, "b": [{"c": [1, "x", {"e": 2, "f": 1}], "d": None}]})
    assert ordered({}) == {}


@dataclass(frozen=True)
class Inner:
    z: int = 0
    y: int = 1


@dataclass(frozen=True)
class Outer:
    many: tuple[Inner, ...]
    one: Inner | None
    a: str = ""


def test_a_dataclass_gives_the_order_of_its_fields() -> None:
    assert text(of_fields(Outer)) == text({"many": {"z": {}, "y": {}}, "one": {"z": {}, "y": {}}, "a": {}})


TOLD = BestClass("a", 9, 8, 9, 1, 0.5, 0.4, 0.6)
NUMBERS = {field.name: 0 for field in dataclasses.fields(Finding) if field.type in ("int", "float")}
FINDING = Finding(
    property="corner",
    where="top left",
    features=("red",),
    strength="weak",
    best_class=TOLD,
    elsewhere=None,
    sentence="so",
    **NUMBERS,
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Hyperparameters, Hyperparameters().to_json()),
        (RetrainConfig, RetrainConfig().to_json()),
        (
            ShortcutCheck,
            ShortcutCheck("train", 9, 9, ("a",), (), 9, "rule", "weak", "so", (FINDING,)).to_json(),
        ),
    ],
)
def test_what_the_database_scrambled_comes_out_as_it_was_written(kind: type, value: dict[str, Any]) -> None:
    written = json.loads(json.dumps(value))
    assert text(scrambled(written)) != text(written)
    assert text(ordered(scrambled(written), of_fields(kind))) == text(written)


def test_a_record_of_splits_too() -> None:
    record = SplitRecord(
        ("train",), {"val": Cut("train", 0.1, 1, 9), "test": Cut("train", 0.1, 1, 9)}
    ).to_json()
    order = {**of_fields(SplitRecord), "made": each(SPLITS, of_fields(Cut))}
    written = json.loads(json.dumps(record))
    assert text(ordered(scrambled(written), order)) == text(written)
