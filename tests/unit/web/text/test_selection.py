"""The reject option: where a slider stands on the curve. Its words are in `tests/golden_texts`."""

from __future__ import annotations

from masktune import CurvePoint
from web.text.selection import ScoredSample, abstentions, point_at, point_of


def _point(coverage: float, threshold: float, risk: float) -> CurvePoint:
    return CurvePoint(
        threshold=threshold, coverage=coverage, risk=risk, n_answered=round(coverage * 100), n_errors=1,
        low=0.0, high=risk + 0.05, band_low=0.0, band_high=risk + 0.1,
    )  # fmt: skip


POINTS = [_point(0.2, 0.99, 0.0), _point(0.6, 0.9, 0.02), _point(1.0, 0.5, 0.1)]


def test_a_coverage_selects_the_point_that_answers_at_least_as_many() -> None:
    assert point_at(POINTS, 0.5) is POINTS[1]
    assert point_at(POINTS, 0.6) is POINTS[1]
    assert point_at(POINTS, 1.0) is POINTS[2]
    assert point_at([], 0.5) is None


def test_a_threshold_selects_its_point() -> None:
    assert point_of(POINTS, 0.9) is POINTS[1]
    assert point_of(POINTS, 0.7) is POINTS[1]
    assert point_of(POINTS, 0.999) is POINTS[0]
    assert point_of(POINTS, None) is None


def test_the_model_abstains_below_the_threshold_or_without_a_score() -> None:
    shown = [
        ScoredSample(1, "a", "a", 0.95),
        ScoredSample(2, "a", "b", 0.9),
        ScoredSample(3, "b", "b", 0.89),
        ScoredSample(4, "b", "–", None),
    ]
    assert abstentions(shown, 0.9) == [False, False, True, True]
    assert abstentions(shown, None) == [True] * 4
