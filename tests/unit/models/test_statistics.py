"""Intervals by their definitions and by coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.statistics import clopper_pearson, least_share, mean_share, upper_bound, wilson
from tests.support.tails import at_least, at_most


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 10), (3, 10), (10, 10), (57, 60), (500, 1000)])
def test_an_interval_ends_where_its_test_begins_to_reject(k: int, n: int) -> None:
    low, high = wilson(k, n)
    assert low < high
    for end in (low, high):
        assert abs(k / n - end) == pytest.approx(
            1.959963984540054 * math.sqrt(end * (1 - end) / n), abs=1e-12
        )
    low, high = map(float, clopper_pearson(k, n, confidence=0.95))
    assert low == 0 if k == 0 else at_least(k, n, low) == pytest.approx(0.025)
    assert high == 1 if k == n else at_most(k, n, high) == pytest.approx(0.025)


def test_without_trials_anything_is_possible() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert tuple(map(float, clopper_pearson(0, 0, confidence=0.95))) == (0.0, 1.0)


def test_the_upper_bound_is_where_the_exact_test_begins_to_reject() -> None:
    k, n = np.array([0, 3, 40]), np.array([30, 30, 200])
    bound = upper_bound(k, n, confidence=0.99)
    assert at_most(k, n, bound) == pytest.approx(0.01)


@pytest.mark.parametrize("true", [(0.9, 0.9, 0.9, 0.9), (0.6, 0.9, 0.95, 0.9)])
def test_the_interval_of_the_lowest_share_holds_its_confidence(true: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    held = alone = 0
    for _ in range(1000):
        counts = [(int(rng.binomial(60, p)), 60) for p in true]
        low, high = least_share(counts)
        held += bool(low <= min(true) <= high)
        own = wilson(*min(counts))
        alone += own.low <= min(true) <= own.high
        assert low <= min(counts)[0] / 60 <= high
    assert held >= 940  # 0.95, less three standard deviations of the simulation would be 929
    assert (alone < 900) == (len(set(true)) == 1)  # what the correction is for


@pytest.mark.parametrize("sizes", [(400, 400, 1, 1, 1, 1, 1), (400, 400, 10, 10, 10), (400, 30, 30, 2, 3)])
@pytest.mark.parametrize("true", [0.9, 0.95, 0.99])
def test_shares_of_few_samples_do_not_make_the_lowest_look_surely_low(
    sizes: tuple[int, ...], true: float
) -> None:
    """With Wilson's ends a single image of each of five groups would, in 23 % of draws at 0.95."""
    rng = np.random.default_rng(0)
    drawn = [[(int(rng.binomial(n, true)), n) for n in sizes] for _ in range(600)]
    assert sum(least_share(counts).high < true for counts in drawn) <= 24  # 2.5 %, and three deviations


def test_of_one_share_the_lowest_is_itself() -> None:
    assert least_share([(3, 10)]) == wilson(3, 10)


def test_the_interval_of_a_mean_of_shares_holds_its_confidence() -> None:
    rng = np.random.default_rng(0)
    true, sizes, weights = np.array([0.95, 0.6, 0.8]), [200, 30, 80], [0.7, 0.1, 0.2]
    held = 0
    for _ in range(1000):
        counts = [(int(rng.binomial(n, p)), n) for n, p in zip(sizes, true, strict=True)]
        low, high = mean_share(counts, weights)
        held += bool(low <= true @ weights <= high)
    assert 930 <= held <= 975
    assert mean_share([(3, 10)]) == pytest.approx(wilson(3, 10))


@pytest.mark.parametrize(
    ("shares", "samples", "true"), [(10, 10, 0.95), (20, 5, 0.8), (200, 5, 0.9), (1, 60, 0.9)]
)
def test_neither_end_of_it_is_missed_for_there_being_many_small_shares(
    shares: int, samples: int, true: float
) -> None:
    rng = np.random.default_rng(0)
    above = below = 0
    for _ in range(600):
        low, high = mean_share([(int(k), samples) for k in rng.binomial(samples, true, shares)])
        above += low > true
        below += high < true
    assert max(above, below) <= 36  # 2.5 %, and the steps of counts; in quadrature it was 12 %


@pytest.mark.parametrize(("correct", "end"), [(0, 0.0), (5, 1.0)])
def test_a_mean_of_nothing_but_hits_or_misses_is_not_certain(correct: int, end: float) -> None:
    interval = mean_share([(correct, 5)] * 4)
    assert end in interval
    assert interval == pytest.approx(wilson(4 * correct, 20))
