"""The paired bootstrap over many draws: against resampled rows, and by its errors where truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from models.evaluation.paired import PAIRS_OF_MEAN, paired_difference
from tests.unit.models.evaluation.pairs import outcomes
from tests.unit.models.evaluation.test_paired import Truth


def test_drawing_counts_is_drawing_rows() -> None:
    """One row less than there are, in each stratum, some of pseudo-counts: see `paired_difference`."""
    a, b, strata = outcomes([[60, 15, 5, 20], [20, 4, 6, 10], [50, 5, 5, 0]])
    rng = np.random.default_rng(0)
    means = []
    for s in range(3):
        inside = strata == s
        rows = np.append(a[inside].astype(float) - b[inside], [1, -1])
        weights = np.append(np.ones(inside.sum()), [PAIRS_OF_MEAN / 3] * 2)
        draws = rng.choice(rows, (20_000, inside.sum() - 1), p=weights / weights.sum())
        means.append(draws.mean(1))
    drawn = np.mean(means, 0)
    found = paired_difference(
        a, b, strata=strata, statistic="balanced_accuracy", generator=rng, resamples=20_000
    )
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.004)


ALIKE, ONE_BAD = (0.7,) * 10, (0.7, *(0.95,) * 9)


@pytest.mark.parametrize(("a", "b"), [(ONE_BAD, ALIKE), (ALIKE, ONE_BAD), (ALIKE, ALIKE), (ONE_BAD, ONE_BAD)])
def test_a_worst_case_is_not_better_for_being_the_only_one(a: Sequence[float], b: Sequence[float]) -> None:
    found = Truth(60, a, b).intervals("worst_group_accuracy", 60)
    assert ((found[:, 0] > 0) | (found[:, 1] < 0)).sum() <= 4  # of the first two, a plain bootstrap has 28


def test_a_worst_case_that_is_worse_is_not_called_better() -> None:
    found = Truth(50, (0.65, *(0.95,) * 19), (0.7,) * 20).intervals("worst_group_accuracy", 60)
    assert (found[:, 0] > 0).sum() == 0
    assert ((found[:, 0] <= -0.05) & (found[:, 1] >= -0.05)).sum() >= 56


@pytest.mark.parametrize(("size", "strata"), [(1, 300), (2, 200), (5, 100)])
def test_many_small_strata_are_a_mean_like_any_other(size: int, strata: int) -> None:
    truth = Truth(size, (0.8,) * strata, (0.7,) * strata)
    found = truth.intervals("balanced_accuracy", 100)
    assert ((found[:, 0] <= 0.1) & (found[:, 1] >= 0.1)).sum() >= 88
    assert (found[:, 0] > 0).sum() >= 80  # half a pair in each stratum would hide it
