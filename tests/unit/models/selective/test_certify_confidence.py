"""What a selection says of itself: its confidence, and where each target begins and ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.selective import (
    CalibrationTable,
    answer_all,
    best_certifiable_risk,
    by_group,
    certify,
    coverage_ratio,
    samples_needed,
    threshold_for_coverage,
    threshold_for_score,
)
from models.selective.certify import certified_step, walks
from models.statistics import upper_bound
from tests.support.tails import at_most


def split(n: int, *, wrong: int = 0, unusable: int = 0) -> CalibrationTable:
    """`n` samples with scores of their own; the least sure usable ones are wrong, the last have no score."""
    scores = -np.arange(1.0, n + 1)
    scores[n - unusable :] = math.nan
    right = np.ones(n, bool)
    right[n - unusable - wrong : n - unusable] = False
    return CalibrationTable.build(scores, right)


# the confidence


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("certifiable", [True, False])
def test_a_certificate_names_the_confidence_that_was_asked_for(confidence: float, certifiable: bool) -> None:
    found = certify(split(1000, wrong=10), max_risk=0.05 if certifiable else 1e-6, confidence=confidence)
    assert found.status == ("certified" if certifiable else "not_certifiable")
    assert (found.planning is None) == certifiable
    point = found.point
    assert point.confidence == confidence
    bound = upper_bound(point.errors, point.answered, confidence=confidence)
    assert point.risk_upper == float(bound) <= (0.05 if certifiable else 1)


def test_a_group_is_judged_at_the_confidence_that_was_asked_for() -> None:
    """30 right answers show a risk of at most 7.4 % at 90 %, and of at most 14.2 % at 99 %."""
    tables = {"small": split(30)}
    for confidence, verdict in ((0.9, "bound_below"), (0.99, "too_few")):
        (found,) = by_group(tables, -100.0, max_risk=0.1, confidence=confidence)
        assert (found.verdict, found.point.confidence) == (verdict, confidence)
        assert found.point.risk_upper == pytest.approx(1 - (1 - confidence) ** (1 / 30))


def test_a_bound_that_is_just_the_risk_asked_for_is_not_above_it() -> None:
    tables = {"all right": split(30), "one wrong": split(30, wrong=1)}
    best = float(upper_bound(0, 30, confidence=0.99))
    verdicts = [group.verdict for group in by_group(tables, -100.0, max_risk=best)]
    assert verdicts == ["bound_below", "bound_above"]


# where a target begins and ends


@pytest.mark.parametrize(
    ("risk", "confidence", "words"),
    [
        (0.0, 0.99, "must be"),
        (1.0, 0.99, "must be"),
        *((0.2, confidence, "confidence must be") for confidence in (1.0, 0.4999, math.nan)),
    ],
)
def test_no_certificate_is_certain_and_none_is_a_coin(risk: float, confidence: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        certify(split(50), max_risk=risk, confidence=confidence)


@pytest.mark.parametrize("coverage", [0.0, -0.1, 1.0001, 2.0, math.nan])
def test_a_coverage_is_a_share_of_some_inputs(coverage: float) -> None:
    with pytest.raises(ValueError, match="coverage must be"):
        threshold_for_coverage(split(50), coverage)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_threshold_of_ones_own_is_a_number(score: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        threshold_for_score(split(50), score)


@pytest.mark.parametrize(("coverage", "answered"), [(0.5, 50), (0.8, 80), (0.81, 80), (0.99, 80), (1.0, 80)])
def test_of_a_split_with_unusable_scores_no_more_is_answered_than_can_be(
    coverage: float, answered: int
) -> None:
    """And beyond what calibration can reach the target is for every finite score."""
    found = threshold_for_coverage(split(100, unusable=20), coverage)
    assert found.point.answered == answered
    assert found.threshold == (-math.inf if coverage > 0.8 else -answered)


# what is written down of it


def test_a_threshold_is_kept_in_json_unless_everything_is_answered() -> None:
    table = split(1000, wrong=10)
    certified, covered = certify(table, max_risk=0.05), threshold_for_coverage(table, 0.8)
    assert covered.to_json()["point"]["threshold"] == covered.threshold == -800
    assert certified.to_json()["point"]["threshold"] == certified.threshold
    assert certified.threshold is not None
    assert answer_all(table).to_json()["point"]["threshold"] is None
    assert answer_all(table).threshold == -math.inf


@pytest.mark.parametrize(("thresholds", "ratio"), [((-25, -50), 0.5), ((-0.5, -50), 0.0), ((-30, -30), 1.0)])
def test_the_ratio_of_coverages_is_one_where_they_are_even_and_zero_where_a_group_has_no_answer(
    thresholds: tuple[float, float], ratio: float
) -> None:
    groups = [by_group({str(n): split(100)}, threshold)[0] for n, threshold in enumerate(thresholds)]
    assert coverage_ratio(groups) == pytest.approx(ratio)
    assert coverage_ratio(groups[::-1]) == pytest.approx(ratio)
    assert coverage_ratio(groups[:1]) is None
    assert coverage_ratio(by_group({"a": split(100), "b": split(100)}, None)) is None


@pytest.mark.parametrize("wrong", [0, 3, 200])
@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_the_best_risk_is_certified_and_a_little_less_is_not(wrong: int, confidence: float) -> None:
    table = split(1000, wrong=wrong)
    best = best_certifiable_risk(table, confidence)
    assert best is not None
    assert certify(table, max_risk=best, confidence=confidence).status == "certified"
    assert certify(table, max_risk=best / 1.02, confidence=confidence).status == "not_certifiable"


def test_a_split_of_one_right_answer_certifies_little_and_one_of_two_wrong_ones_nothing() -> None:
    """One of one: a risk of at most r in 1 − r of all draws."""
    assert best_certifiable_risk(split(1), 0.9) == pytest.approx(0.9, rel=0.01)
    assert best_certifiable_risk(split(2, wrong=2), 0.9) is None


RISK, CONFIDENCE = 0.02, 0.99
EARLY = next(k for k in range(3, 10_000) if at_most(2, k, RISK) <= (1 - CONFIDENCE) / 4)
"""The fewest answered at which two errors pass at a quarter of the error."""


@given(
    st.integers(1, 3000),
    st.sampled_from([1e-3, 0.02, 0.05, 0.3, 0.9]),
    st.sampled_from([0.5, 0.9, 0.99, 0.999]),
)
@settings(max_examples=40, deadline=None)
def test_the_starts_spend_no_more_than_the_whole_error(n: int, risk: float, confidence: float) -> None:
    found = walks(n, risk, confidence)
    assert sum(walk.level for walk in found) <= (1 - confidence) * (1 + 1e-9)
    for walk in found:
        assert walk.start <= n
        assert at_most(0, walk.start, risk) <= walk.level * (1 + 1e-9), "a start that no split passes"


def test_the_last_threshold_that_passes_is_taken_whichever_start_reaches_it() -> None:
    """Six errors just behind the early start end its walk; the late one finds them few among so many."""
    right = np.ones(3000, bool)
    right[EARLY : EARLY + 6] = False
    table = CalibrationTable.build(-np.arange(3000.0), right)
    early, late = walks(3000, RISK, CONFIDENCE)
    step = certified_step(table, RISK, CONFIDENCE)
    assert step is not None
    assert early.start < EARLY + 6 < late.start < table.answered[step] == 3000
    assert at_most(6, EARLY + 6, RISK) > early.level


def test_no_number_of_samples_is_promised_where_the_model_errs_too_often() -> None:
    """Half of the surest are wrong, and more samples would only show it better."""
    halves = np.arange(1000) % 2 == 1
    assert samples_needed(CalibrationTable.build(-np.arange(1000.0), halves), 0.1, 0.9) is None
    assert samples_needed(CalibrationTable.build(-np.arange(1000.0), np.ones(1000, bool)), 0.1, 0.9) == 22
    assert samples_needed(CalibrationTable.build(np.full(9, np.nan), np.ones(9, bool)), 0.1, 0.9) is None
