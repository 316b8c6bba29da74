"""Intervals against scipy and by coverage; the paired bootstrap against resampled rows; the verdict."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from models.statistics import (
    Verdict,
    clopper_pearson,
    compare,
    least_share,
    mean_share,
    paired_difference,
    paired_table,
    upper_bound,
    verdict,
    wilson,
)

Bools = NDArray[np.bool_]
Labels = NDArray[np.int64]


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 10), (3, 10), (10, 10), (57, 60), (500, 1000)])
def test_intervals_are_those_of_scipy(k: int, n: int) -> None:
    reference = binomtest(k, n)
    assert wilson(k, n) == pytest.approx(tuple(reference.proportion_ci(0.95, "wilson")), abs=1e-12)
    exact = reference.proportion_ci(0.95, "exact")
    assert tuple(map(float, clopper_pearson(k, n, confidence=0.95))) == pytest.approx(tuple(exact), abs=1e-12)


def test_without_trials_anything_is_possible() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert tuple(map(float, clopper_pearson(0, 0, confidence=0.95))) == (0.0, 1.0)


def test_the_upper_bound_is_where_the_exact_test_begins_to_reject() -> None:
    k, n = np.array([0, 3, 40]), np.array([30, 30, 200])
    bound = upper_bound(k, n, confidence=0.99)
    assert binom.cdf(k, n, bound) == pytest.approx(0.01)


def outcomes(table: list[list[int]]) -> tuple[Bools, Bools, NDArray[np.int64]]:
    """Right answers of a and of b and the stratum, from counts (both, a alone, b alone, none) a stratum."""
    kinds = np.concatenate([np.repeat(np.arange(4), row) for row in table])
    strata = np.repeat(np.arange(len(table)), np.sum(table, axis=1))
    return kinds < 2, kinds % 2 == 0, strata


def test_the_table_counts_pairs_by_stratum() -> None:
    table = [[5, 2, 1, 4], [0, 0, 3, 0]]
    a, b, strata = outcomes(table)
    shuffled = np.random.default_rng(0).permutation(len(a))
    assert paired_table(a[shuffled], b[shuffled], strata[shuffled] * 7).tolist() == table


def test_the_estimate_is_the_difference_of_the_statistics() -> None:
    a, b, strata = outcomes([[80, 10, 0, 10], [5, 0, 2, 3]])  # a: 0.9, 0.5; b: 0.8, 0.7
    kinds = {"worst_group_accuracy": 0.5 - 0.7, "balanced_accuracy": 0.7 - 0.75, "accuracy": 8 / 110}
    for statistic, expected in kinds.items():
        found = paired_difference(
            a,
            b,
            strata=strata,
            statistic=statistic,  # type: ignore[arg-type]  # a literal, in a dict
            generator=np.random.default_rng(0),
            resamples=100,
        )
        assert found.estimate == pytest.approx(expected)
        assert (found.a_only, found.b_only, found.n) == (10, 2, 110)


def test_drawing_counts_is_drawing_rows() -> None:
    a, b, strata = outcomes([[60, 15, 5, 20], [20, 4, 6, 10], [50, 5, 5, 0]])
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(4000):
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(strata == s), (strata == s).sum()) for s in range(3)]
        )
        by_group = [(a[rows][strata == s].mean(), b[rows][strata == s].mean()) for s in range(3)]
        drawn.append(min(x for x, _ in by_group) - min(y for _, y in by_group))
    found = paired_difference(
        a, b, strata=strata, statistic="worst_group_accuracy", generator=rng, resamples=20_000, prior=0
    )
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.012)


def test_the_same_generator_gives_the_same_interval() -> None:
    a, b, strata = outcomes([[60, 15, 5, 20]])
    first, second = (
        paired_difference(a, b, strata=strata, generator=np.random.default_rng(3)) for _ in range(2)
    )
    assert first == second


def test_four_against_none_is_not_enough_and_a_dozen_is() -> None:
    for alone, detected in ((4, False), (12, True)):
        a, b, _ = outcomes([[200, alone, 0, 20]])
        found = paired_difference(a, b, generator=np.random.default_rng(0))
        assert (found.low > 0) == detected


@pytest.mark.parametrize("short", [np.zeros(0, bool), np.zeros(3, bool)])
def test_other_samples_cannot_be_paired(short: Bools) -> None:
    with pytest.raises(ValueError, match="the same samples"):
        paired_difference(short, np.zeros(len(short) // 2, bool), generator=np.random.default_rng(0))


def test_the_worst_group_needs_groups() -> None:
    with pytest.raises(ValueError, match="needs strata"):
        paired_difference(
            np.ones(2, bool),
            np.ones(2, bool),
            statistic="worst_group_accuracy",
            generator=np.random.default_rng(0),
        )


def judged(a: Bools, b: Bools, *, classes: Labels, groups: Labels | None = None) -> Verdict:
    return verdict(
        compare(a, b, classes=classes, groups=groups, generator=lambda _: np.random.default_rng(0))
    )


@pytest.mark.parametrize(
    ("minority", "expected"),
    [
        ([10, 60, 5, 25], "helped"),
        ([10, 5, 60, 25], "hurt"),
        ([40, 10, 10, 40], "no_detectable_effect"),
    ],
)
def test_the_worst_group_decides_where_there_are_groups(minority: list[int], expected: str) -> None:
    a, b, groups = outcomes([[900, 0, 50, 50], minority])
    found = judged(a, b, classes=np.zeros(len(a), np.int64), groups=groups)
    assert found.verdict == expected
    assert found.deciding.statistic == "worst_group_accuracy"
    assert found.average.statistic == "accuracy"
    assert found.average.n == len(a)


@pytest.mark.parametrize("groups", [None, np.full(400, -1)])
def test_balanced_accuracy_decides_where_there_are_none(groups: Labels | None) -> None:
    a, b, classes = outcomes([[200, 0, 0, 0], [100, 80, 5, 15]])
    found = judged(a, b, classes=classes, groups=groups)
    assert (found.verdict, found.deciding.statistic) == ("helped", "balanced_accuracy")
    assert found.deciding.estimate == pytest.approx(75 / 200 / 2)


def test_samples_without_a_group_are_left_out_of_the_groups() -> None:
    a, b, groups = outcomes([[50, 0, 0, 0], [0, 0, 50, 0]])
    groups[50:] = -1
    found = judged(a, b, classes=np.zeros(100, np.int64), groups=groups)
    assert (found.deciding.n, found.average.n) == (50, 100)
    assert found.verdict == "no_detectable_effect"


def test_a_verdict_needs_the_difference_that_decides() -> None:
    a, b, _ = outcomes([[20, 5, 5, 20]])
    only = paired_difference(a, b, generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match="balanced accuracy"):
        verdict([only])


def test_every_statistic_is_compared_and_weights_are_those_of_training() -> None:
    # Group 0: a better by 0.5; group 1: b better by 0.2. In training group 0 is nine times as frequent.
    a, b, groups = outcomes([[25, 50, 0, 25], [60, 0, 20, 20]])
    found = {
        d.statistic: d
        for d in compare(
            a,
            b,
            classes=groups,
            groups=groups,
            train_group_weights={0: 90, 1: 10},
            generator=lambda _: np.random.default_rng(0),
        )
    }
    assert list(found) == [
        "accuracy",
        "balanced_accuracy",
        "worst_class_accuracy",
        "worst_group_accuracy",
        "train_weighted_accuracy",
    ]
    assert found["accuracy"].estimate == pytest.approx(0.15)
    assert found["worst_group_accuracy"].estimate == pytest.approx(0.60 - 0.25)
    assert found["train_weighted_accuracy"].estimate == pytest.approx(0.9 * 0.5 - 0.1 * 0.2)
    assert found["train_weighted_accuracy"].low < 0.43 < found["train_weighted_accuracy"].high
    with pytest.raises(ValueError, match="needs weights"):
        paired_difference(
            a,
            b,
            strata=groups,
            statistic="train_weighted_accuracy",
            generator=np.random.default_rng(0),
        )


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
