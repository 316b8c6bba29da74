"""The reject option: where a slider stands on the curve, and what its words promise."""

from __future__ import annotations

from typing import Any

from masktune import CurvePoint, GroupTable, RiskCoverage
from web.charts import svg
from web.text.selection import ScoredSample, abstentions, curve_chart, point_at, point_of, statement


def _point(coverage: float, threshold: float, risk: float) -> CurvePoint:
    return CurvePoint(
        threshold=threshold, coverage=coverage, risk=risk, n_answered=round(coverage * 100), n_errors=1,
        low=0.0, high=risk + 0.05, band_low=0.0, band_high=risk + 0.1,
    )  # fmt: skip


POINTS = [_point(0.2, 0.99, 0.0), _point(0.6, 0.9, 0.02), _point(1.0, 0.5, 0.1)]


def _table(**given: Any) -> GroupTable:
    base = {
        "policy": "coverage", "requested": 0.6, "status": "target_coverage", "threshold": 0.9,
        "max_risk": 0.05, "risk_confidence": 0.95,
    }  # fmt: skip
    return GroupTable(**(base | given))


def _curve(table: GroupTable) -> RiskCoverage:
    return RiskCoverage(
        model="mdl_1",
        score_name="max_softmax",
        n=100,
        confidence=0.95,
        points=POINTS,
        statement="",
        table=table,
    )


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


def test_a_coverage_chosen_after_looking_quotes_the_band() -> None:
    table = _table()
    said = statement(table, POINTS[1], _curve(table))
    assert "at most 12.0\u00a0%" in said
    assert "Certified" not in said


def test_a_certificate_says_what_it_does_not_hold_for() -> None:
    table = _table(policy="max_risk", requested=0.05, status="certified")
    said = statement(table, POINTS[1], _curve(table))
    assert said.startswith("Certified: with 95\u00a0% confidence")
    assert "no promise about a single input, a group or shifted data" in said


def test_a_risk_that_is_not_certifiable_abstains_on_every_input() -> None:
    table = _table(policy="max_risk", requested=0.001, status="not_certifiable", threshold=None)
    table = table.model_copy(update={"samples_needed": 640, "best_certifiable_risk": 0.04})
    said = statement(table, None, _curve(table))
    assert "abstains on every input" in said
    assert "about 640 calibration samples would do; the lowest risk that these certify is 4.0" in said
    assert statement(_table(threshold=None), None, _curve(table)) == "No input would be answered."


def test_the_model_abstains_below_the_threshold_or_without_a_score() -> None:
    shown = [
        ScoredSample(1, "a", "a", 0.95),
        ScoredSample(2, "a", "b", 0.9),
        ScoredSample(3, "b", "b", 0.89),
        ScoredSample(4, "b", "–", None),
    ]
    assert abstentions(shown, 0.9) == [False, False, True, True]
    assert abstentions(shown, None) == [True] * 4


def test_the_chart_describes_the_selected_point() -> None:
    drawn = svg(curve_chart(_curve(_table()), POINTS[1]))
    assert "60.0\u00a0% answered, 2.0\u00a0% wrong" in drawn
