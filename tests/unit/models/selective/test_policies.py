"""Policies without a promise, groups, and the risk–coverage curve."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import betainc

from models.selective import (
    SCORES,
    CalibrationTable,
    ClassTables,
    Selection,
    SplitTables,
    answer_all,
    by_group,
    certify,
    count_split,
    decide,
    reweighted,
    risk_coverage,
    score,
    threshold_for_coverage,
    threshold_for_score,
)
from models.types import Counts, Floats
from tests.support.tails import at_most
from tests.unit.models.selective.test_selective import rising

# the other policies


@pytest.mark.parametrize("coverage", [0.001, 0.25, 0.9, 0.999])
def test_a_coverage_is_the_least_that_reaches_the_target(coverage: float) -> None:
    table = rising(1000)
    point = threshold_for_coverage(table, coverage).point
    assert point.answered == math.ceil(coverage * 1000)
    lower = point.coverage_interval.low
    assert betainc(point.answered, 1001 - point.answered, lower) == pytest.approx(0.025)  # the law of a rank


def test_full_coverage_answers_what_calibration_never_saw() -> None:
    found = threshold_for_coverage(rising(100), 1.0)
    assert decide([-1e9, math.nan], found.threshold).tolist() == [True, False]
    assert found.to_json()["point"]["threshold"] is None


def test_a_raw_threshold_says_what_it_did() -> None:
    found = threshold_for_score(rising(1000), -0.5)
    assert found.status == "raw_threshold"
    assert found.point.coverage == pytest.approx(0.5, abs=0.05)
    assert found.point.confidence == 0.99
    bound = found.point.risk_upper
    assert at_most(found.point.errors, found.point.answered, bound) == pytest.approx(0.01, rel=1e-9)


def test_the_bound_of_a_certified_threshold_is_the_certified_risk_and_of_any_other_its_own() -> None:
    certified, none = certify(rising(1000), max_risk=0.3), certify(rising(100), max_risk=0.001)
    assert (certified.status, certified.risk_upper) == ("certified", 0.3)
    assert (none.status, none.risk_upper) == ("not_certifiable", none.point.risk_upper)
    chosen = threshold_for_score(rising(1000), -0.5)
    assert chosen.risk_upper == chosen.point.risk_upper < 1


def test_every_selection_is_plain_json() -> None:
    table = rising(100)
    found: list[Selection] = [
        certify(table, max_risk=0.01),
        certify(table, max_risk=0.3),
        threshold_for_coverage(table, 0.8),
        threshold_for_score(table, -0.2),
        answer_all(table),
    ]
    for selection in found:
        json.dumps(selection.to_json(), allow_nan=False)


def test_groups_have_their_own_counts_and_bounds() -> None:
    scores, groups = np.full(360, -0.1), np.repeat([0, 1, 2], [300, 30, 30])
    correct = np.ones(360, bool)
    correct[300:310] = False
    tables = {
        name: CalibrationTable.build(scores[groups == id], correct[groups == id])
        for id, name in enumerate(("large", "wrong", "small"))
    }
    large, wrong, small = by_group(tables, -1.0, max_risk=0.2)
    assert (large.verdict, large.point.answered, large.point.errors) == ("bound_below", 300, 0)
    assert wrong.verdict == "bound_above"
    assert wrong.point.risk == pytest.approx(1 / 3)
    assert small.verdict == "bound_below"
    assert [g.verdict for g in by_group(tables, -1.0, max_risk=0.02)] == ["bound_below", "too_few", "too_few"]
    assert {g.verdict for g in by_group(tables, None, max_risk=0.5)} == {"too_few"}


def test_a_group_needs_as_many_more_samples_as_its_coverage_takes() -> None:
    half = CalibrationTable.build(np.repeat([-0.1, -2.0], 15), np.ones(30, bool))
    (found,) = by_group({"half": half}, -1.0, max_risk=0.02)
    assert found.needed == 2 * (228 - 15)  # 228 without an error show 2 % at 99 %
    (none,) = by_group({"half": half}, 0.0, max_risk=0.02)
    assert none.needed is None


def test_where_nobody_asked_for_a_risk_no_group_has_a_verdict() -> None:
    """The whole split's own bound is no target: it comes from the data that it would be compared with."""
    tables = {"all": CalibrationTable.build(np.full(300, -0.1), np.ones(300, bool))}
    (found,) = by_group(tables, -1.0)
    assert found.verdict is None
    assert found.point.risk_upper < 0.02


# the curve


def test_areas_without_ties_are_the_textbook_sums() -> None:
    correct = np.array([True, True, False, True, False])
    curve = risk_coverage(CalibrationTable.build(-np.arange(5.0), correct))
    errors = np.cumsum(~correct)
    assert curve.aurc == pytest.approx((errors / np.arange(1, 6)).mean())
    assert curve.augrc == pytest.approx((errors / 5).mean())


def test_equal_scores_have_the_risk_of_all_at_every_rank() -> None:
    curve = risk_coverage(CalibrationTable.build(np.zeros(3), np.array([True, False, True])))
    assert (curve.aurc, curve.augrc) == pytest.approx((1 / 3, 2 / 9))


def test_areas_with_ties_are_the_mean_over_their_orders() -> None:
    rng = np.random.default_rng(0)
    scores, correct = rng.integers(0, 3, 9).astype(float), rng.random(9) < 0.6
    curve = risk_coverage(CalibrationTable.build(scores, correct))
    drawn: list[tuple[float, float]] = []
    for _ in range(4000):
        order = np.lexsort((rng.random(9), -scores))
        errors: NDArray[np.int64] = np.cumsum(~correct[order])
        drawn.append((float((errors / np.arange(1, 10)).mean()), float((errors / 9).mean())))
    assert (curve.aurc, curve.augrc) == pytest.approx(tuple(np.mean(drawn, axis=0)), abs=0.005)


def test_the_band_is_wider_than_the_bounds_and_holds_everywhere_at_once() -> None:
    broken = 0
    for seed in range(100):
        curve = risk_coverage(rising(500, seed), points=50)
        assert all(p.band_low <= p.low <= p.risk <= p.high <= p.band_high for p in curve.points)
        true = [0.6 / 9 * (-p.threshold) ** 8 for p in curve.points]
        broken += any(
            not p.band_low <= risk <= p.band_high for p, risk in zip(curve.points, true, strict=True)
        )
    assert broken <= 5


def test_the_curve_has_the_points_that_n_decides() -> None:
    curve = risk_coverage(rising(1000), points=20)
    assert [p.answered for p in curve.points] == list(range(50, 1001, 50))


CLASSES, GROUPS = ("cat", "dog", "owl"), ("day", "night", "nobody's")


def split() -> tuple[Floats, Floats, Counts, Counts]:
    """Logits of a pair, labels and groups (−1: none) of 60 samples. No owl is in it, and nobody's sample."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    logits, erm = (rng.normal(size=(60, 3)) + 2 * np.eye(3)[labels] for _ in range(2))
    return logits, erm, labels, rng.integers(-1, 2, 60)


def counted(erm: Floats | None, **changes: Counts) -> SplitTables:
    logits, _, labels, groups = split()
    columns = {"labels": labels, "groups": groups} | changes
    return count_split(
        logits,
        erm,
        columns["labels"],
        classes=CLASSES,
        groups=columns["groups"],
        group_names=GROUPS,
        temperature=2,
    )


@pytest.mark.parametrize("name", SCORES)
def test_a_part_counts_what_would_be_answered_of_it(name: str) -> None:
    logits, erm, labels, groups = split()
    scored = score(name, logits, erm, temperature=2)  # type: ignore[arg-type]  # a literal, out of a tuple
    right = scored.labels == labels
    found = counted(erm)
    assert set(found.groups[name]) == {"day", "night"}
    assert set(found.classes[name]) == {"cat", "dog"}
    parts: list[tuple[CalibrationTable, Counts]] = [(found.scores[name], np.arange(60))]
    parts += [(found.groups[name][GROUPS[n]], np.flatnonzero(groups == n)) for n in (0, 1)]
    parts += [(found.classes[name][CLASSES[n]], np.flatnonzero(labels == n)) for n in (0, 1)]
    for table, rows in parts:
        assert table.n == len(rows)
        for threshold in (-10.0, -1.0, -0.5, -0.1):
            answered = decide(scored.scores[rows], threshold)
            assert table.at(threshold) == (answered.sum(), (answered & ~right[rows]).sum())


def test_the_groups_need_not_hold_every_sample_and_the_classes_do() -> None:
    found, (_, _, _, groups) = counted(split()[1]), split()
    assert sum(table.n for table in found.classes["product"].values()) == 60
    assert sum(table.n for table in found.groups["product"].values()) == (groups >= 0).sum() < 60
    assert counted(None, groups=np.full(60, -1)).groups == {"max_softmax": {}}


def test_without_erm_there_is_the_models_own_score_alone() -> None:
    alone, both = counted(None), counted(split()[1])
    assert set(alone.scores) == set(alone.groups) == set(alone.classes) == {"max_softmax"}
    assert set(both.scores) == set(both.groups) == set(both.classes) == set(SCORES)
    assert alone.scores["max_softmax"].id == both.scores["max_softmax"].id
    assert len({table.id for table in both.scores.values()}) == len(SCORES)


# another mix of the images


def halves(n: int = 400) -> tuple[CalibrationTable, CalibrationTable, CalibrationTable]:
    """A quarter that is often wrong, the rest, and all of them."""
    rng = np.random.default_rng(1)
    scores, lacks = -rng.random(n), np.arange(n) % 4 == 0
    right = rng.random(n) > np.where(lacks, 0.5, 0.05)
    lacking, rest = (CalibrationTable.build(scores[part], right[part]) for part in (lacks, ~lacks))
    return lacking, rest, CalibrationTable.build(scores, right)


def test_the_mix_that_was_measured_gives_the_curve_that_was_measured() -> None:
    lacking, rest, everything = halves()
    curve = risk_coverage(everything, points=50)
    parts = ClassTables([lacking], [rest])
    mixed = reweighted([parts], [p.threshold for p in curve.points], share=0.25)
    assert np.allclose([p.coverage for p in mixed], [p.coverage for p in curve.points])
    assert np.allclose([p.risk or 0.0 for p in mixed], [p.risk for p in curve.points])


def test_either_end_of_the_mix_is_one_part_alone_however_many_tables_it_has() -> None:
    lacking, rest, everything = halves()
    thresholds = [p.threshold for p in risk_coverage(lacking).points]
    alone = pytest.approx([p.risk for p in risk_coverage(lacking).points])
    parts = ClassTables([lacking], [rest, everything])
    assert [p.risk for p in reweighted([parts], thresholds, share=1.0)] == alone
    twice = reweighted([ClassTables([rest], [lacking, lacking])], thresholds, share=0.0)
    assert [p.risk for p in twice] == alone


def test_a_threshold_that_answers_nothing_has_no_risk() -> None:
    lacking, rest, _ = halves()
    (point,) = reweighted([ClassTables([lacking], [rest])], [1.0], share=0.5)
    assert (point.coverage, point.risk) == (0.0, None)


def test_another_mix_of_patterns_is_no_other_mix_of_classes() -> None:
    """Each class is as often wrong with its pattern as without; the harder one hardly ever lacks it."""

    def parts(n_lacking: int, n_rest: int, wrong_in: int) -> ClassTables:
        return ClassTables(
            *([CalibrationTable.build(np.zeros(n), np.arange(n) % wrong_in > 0)] for n in (n_lacking, n_rest))
        )

    classes = [parts(80, 320, 10), parts(10, 390, 2)]
    risks = [reweighted(classes, [0.0], share=share)[0].risk for share in (0.0, 0.5, 1.0)]
    assert risks == pytest.approx([0.3] * 3)
