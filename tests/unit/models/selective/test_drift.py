"""Drift: Fisher's exact test, its error under thresholds that are ranks, and what it sees."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.selective import (
    ALPHA,
    REFERENCES,
    CalibrationTable,
    Share,
    compare,
    decide,
    look_once,
    references,
)
from models.statistics import fisher
from tests.support.tails import at_least

shares = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(shares, shares)
@settings(max_examples=60, deadline=None)
def test_it_is_twice_the_smaller_tail_of_fishers_test(a: tuple[int, int], b: tuple[int, int]) -> None:
    (k, n), (other, m) = a, b
    drawn = k + other
    ways = {i: math.comb(n, i) * math.comb(m, drawn - i) for i in range(max(0, drawn - m), min(n, drawn) + 1)}
    sides = ({i for i in ways if i <= k}, {i for i in ways if i >= k})
    tails = [sum(ways[i] for i in side) / math.comb(n + m, drawn) for side in sides]
    assert fisher(Share(*a), Share(*b)) == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-6, abs=1e-12)


def test_without_a_sample_nothing_differs() -> None:
    assert fisher(Share(0, 0), Share(3, 9)) == fisher(Share(3, 9), Share(0, 0)) == 1.0


@pytest.mark.parametrize("levels", [None, 8])
def test_the_error_is_kept_though_the_threshold_is_a_rank_of_the_split(levels: int | None) -> None:
    rng, alarms, draws = np.random.default_rng(0), 0, 600
    for _ in range(draws):
        old, new = rng.random(150), rng.random(200)
        if levels is not None:
            old, new = np.ceil(old * levels), np.ceil(new * levels)
        reference = references(CalibrationTable.build(old, np.ones(150, bool)))[0]
        served = Share(int(decide(new, reference.threshold).sum()), 200)
        alarms += fisher(reference.answered, served) <= 0.05
    assert at_least(alarms, draws, 0.05) > 0.01  # no evidence that it errs more often than 5 %


def test_the_references_are_thresholds_of_the_split() -> None:
    found = references(CalibrationTable.build(-np.arange(200.0), np.ones(200, bool)))
    assert tuple(r.coverage for r in found) == REFERENCES
    assert [r.answered for r in found] == [Share(100, 200), Share(160, 200), Share(190, 200)]
    assert [r.threshold for r in found] == [-99.0, -159.0, -189.0]


def test_a_changed_share_is_seen_and_the_number_of_tests_is_paid_for() -> None:
    same, other = (Share(100, 200), Share(52, 100)), (Share(2, 200), Share(30, 100))
    quiet, loud = compare({"same": same, "other": other}, alpha=0.01)
    assert (quiet.name, quiet.p_adjusted) == ("same", 1.0)
    assert loud.p_adjusted == 2 * loud.p_value < 1e-10
    (alone,) = compare({"other": other}, alpha=0.01)
    assert alone.p_adjusted == alone.p_value == loud.p_value


def test_too_few_inputs_can_show_nothing() -> None:
    few, more = ({"half": (Share(100, 200), Share(n, n))} for n in (4, 20))
    assert not compare(few, alpha=0.01)[0].decidable
    assert compare(more, alpha=0.01)[0].decidable


def test_one_look_sees_what_differs_and_nothing_in_the_split_itself() -> None:
    rng = np.random.default_rng(0)
    scores = np.log(rng.random(300))
    table, disagreement = CalibrationTable.build(scores, np.ones(300, bool)), Share(30, 300)
    disagree = np.arange(300) < 30
    same = look_once(table, disagreement, np.log(np.exp(scores)), disagree)
    assert [test.calibration for test in same.tests] == [test.deployed for test in same.tests]
    assert (same.inputs, same.level, same.drifted) == (300, ALPHA, False)
    unlike = look_once(table, disagreement, np.full(40, np.nan), disagree[:0])
    assert [test.deployed.k for test in unlike.tests] == [0, 0, 0, 0]
    assert [test.name for test in unlike.tests if test.p_adjusted <= ALPHA] == [
        "surest_50",
        "surest_80",
        "surest_95",
    ]
    assert not any(test.decidable for test in look_once(table, None, scores[:2], disagree[:0]).tests)


def test_scores_that_round_to_one_are_compared_as_rounded() -> None:
    scores = -np.arange(1, 201) * 1e-19
    table = CalibrationTable.build(scores, np.ones(200, bool))
    look = look_once(table, None, np.zeros(200), np.zeros(0, bool))
    assert [test.calibration.k for test in look.tests] == [200, 200, 200]
    assert not look.drifted
