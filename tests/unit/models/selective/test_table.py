"""Which tables are believed, what a point says where nothing is answered, and which scores are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from models.selective import CalibrationTable, log_probabilities, operating_point

WHOLE: dict[str, Any] = {"n": 6, "thresholds": [-1.0, -2.0, -3.0], "answered": [1, 3, 5], "wrong": [0, 1, 1]}


def test_a_whole_table_is_read() -> None:
    table = CalibrationTable.from_json(WHOLE)
    assert [table.at(t) for t in (-0.5, -1.0, -2.5, -9.0)] == [(0, 0), (1, 0), (3, 1), (5, 1)]
    assert CalibrationTable.from_json(WHOLE | {"n": 5}).n == 5
    empty = CalibrationTable.from_json({"n": 1, "thresholds": [], "answered": [], "wrong": []})
    assert empty.at(-math.inf) == (0, 0)


@pytest.mark.parametrize(
    "damage",
    [
        {"thresholds": [-1.0, -1.0, -3.0]},
        {"thresholds": [-1.0, -3.0, -2.0]},
        {"thresholds": [math.nan, -2.0, -3.0]},
        {"thresholds": [math.inf, -2.0, -3.0]},
        {"thresholds": [[-1.0], [-2.0], [-3.0]], "answered": [[1], [3], [5]], "wrong": [[0], [1], [1]]},
        {"answered": [1, 1, 5]},
        {"answered": [0, 3, 5]},
        {"answered": [1, 3, 7]},
        {"answered": [1, 3]},
        {"wrong": [0, 1, 0]},
        {"wrong": [2, 2, 2]},
        {"wrong": [0, 0, 3]},
        {"wrong": [-1, 1, 1]},
        {"n": 4},
        {"n": 0},
        {"n": 0, "thresholds": [], "answered": [], "wrong": []},
        {"n": None},
        {"answered": None},
        {"thresholds": "x"},
    ],
    ids=str,
)
def test_counts_that_do_not_add_up_are_no_table(damage: dict[str, Any]) -> None:
    """A threshold would be promised by them."""
    with pytest.raises(ValueError, match=r"not a calibration table|could not convert"):
        CalibrationTable.from_json(WHOLE | damage)


@pytest.mark.parametrize("missing", sorted(WHOLE))
def test_a_part_that_is_missing_is_told(missing: str) -> None:
    with pytest.raises(ValueError, match=f"not a calibration table: '{missing}'"):
        CalibrationTable.from_json({name: value for name, value in WHOLE.items() if name != missing})


@pytest.mark.parametrize(
    ("scores", "correct"), [([-1.0, -2.0], [True]), ([[-1.0]], [[True]]), (-1.0, True), ([], [])]
)
def test_each_sample_has_one_score_and_one_verdict(scores: object, correct: object) -> None:
    with pytest.raises(ValueError, match="one score and one verdict"):
        CalibrationTable.build(scores, correct)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_where_nothing_is_answered_nothing_is_known_of_the_risk(threshold: float | None) -> None:
    point = operating_point(CalibrationTable.from_json(WHOLE), threshold)
    assert (point.answered, point.errors, point.coverage) == (0, 0, 0.0)
    assert (point.risk, point.risk_upper) == (None, 1.0)
    assert point.coverage_interval.low == 0
    assert point.coverage_interval.high == pytest.approx(1 - 0.025 ** (1 / 6))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_one_broken_logit_leaves_no_score_whichever_class_it_is_of(broken: float) -> None:
    """Though softmax gives the other class 1 where it is −∞."""
    for place in (0, 1, 2):
        logits = np.zeros((2, 3))
        logits[0, place] = broken
        for label in (0, 1, 2):
            found = log_probabilities(logits, np.array([label, label]))
            assert np.isnan(found[0])
            assert found[1] == pytest.approx(-math.log(3))
