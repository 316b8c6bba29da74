"""The paired bootstrap: what it counts, what it estimates, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation.paired import (
    ClusteredPairs,
    Difference,
    Statistic,
    mean_over_seeds,
    paired_difference,
    paired_table,
)
from models.types import Bools, Floats, Labels
from tests.unit.models.evaluation.pairs import outcomes


def test_the_table_counts_pairs_by_stratum() -> None:
    table = [[5, 2, 1, 4], [0, 0, 3, 0]]
    a, b, strata = outcomes(table)
    shuffled = np.random.default_rng(0).permutation(len(a))
    assert paired_table(a[shuffled], b[shuffled], strata[shuffled] * 7).tolist() == table


def test_the_estimate_is_the_difference_of_the_statistics() -> None:
    a, b, strata = outcomes([[80, 10, 0, 10], [5, 0, 2, 3]])  # a: 0.9, 0.5; b: 0.8, 0.7
    kinds = {
        "worst_group_accuracy": (0.5, 0.7),
        "balanced_accuracy": (0.7, 0.75),
        "accuracy": (95 / 110, 87 / 110),
    }
    for statistic, (of_a, of_b) in kinds.items():
        found = paired_difference(
            a,
            b,
            strata=strata,
            statistic=statistic,  # type: ignore[arg-type]  # a literal, in a dict
            generator=np.random.default_rng(0),
            resamples=100,
        )
        assert (found.accuracy_a, found.accuracy_b) == pytest.approx((of_a, of_b))
        assert found.estimate == pytest.approx(of_a - of_b)
        assert (found.a_only, found.b_only, found.n) == (10, 2, 110)


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


def of_seed(estimate: float, half: float = 0.04) -> Difference:
    """A seed's difference, `half` of whose interval is that wide."""
    a, b, _ = outcomes([[80, 10, 5, 5]])
    measured = paired_difference(a, b, generator=np.random.default_rng(0), resamples=10)
    return measured._replace(estimate=estimate, low=estimate - half, high=estimate + half)


def test_over_seeds_that_agree_only_the_images_are_uncertain() -> None:
    mean = mean_over_seeds([of_seed(0.1)] * 3)
    assert (mean.estimate, mean.low, mean.high) == pytest.approx((0.1, 0.06, 0.14))
    assert (mean.n, mean.a_only, mean.b_only) == (100, 30, 15)
    assert (mean.accuracy_a, mean.accuracy_b) == pytest.approx((0.9, 0.85))


def test_over_seeds_that_differ_the_interval_covers_them_by_students_t() -> None:
    mean = mean_over_seeds([of_seed(0.09, 0), of_seed(0.1, 0), of_seed(0.11, 0)])
    half = 4.3027 * 0.01 / 3**0.5  # t with two degrees of freedom
    assert (mean.low, mean.high) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-5)
    both = mean_over_seeds([of_seed(0.09), of_seed(0.1), of_seed(0.11)])
    assert both.high - 0.1 == pytest.approx((half**2 + 0.04**2) ** 0.5, abs=1e-5)


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


class Truth(NamedTuple):
    """Accuracies of a and of b in each stratum of `size` samples; `coupled` of them are as hard for both."""

    size: int
    a: Sequence[float]
    b: Sequence[float]
    coupled: float = 0.7

    def intervals(self, statistic: Statistic, draws: int) -> NDArray[np.float64]:
        """(draws, 2) ends of the interval of a − b."""
        rng = np.random.default_rng(0)
        strata = np.repeat(np.arange(len(self.a)), self.size)
        found = []
        for _ in range(draws):
            for_a, other = rng.random((2, len(strata)))
            for_b = np.where(rng.random(len(strata)) < self.coupled, for_a, other)
            a, b = for_a < np.repeat(self.a, self.size), for_b < np.repeat(self.b, self.size)
            difference = paired_difference(
                a, b, generator=rng, strata=strata, statistic=statistic, resamples=400
            )
            found.append((difference.low, difference.high))
        return np.array(found)


def test_a_worst_case_that_is_better_is_seen() -> None:
    found = Truth(300, (0.95, 0.9, 0.75), (0.95, 0.9, 0.6)).intervals("worst_group_accuracy", 40)
    assert (found[:, 0] > 0).sum() >= 36


def test_the_lowest_strata_are_named_by_their_keys() -> None:
    a, b, strata = outcomes([[8, 1, 0, 1], [3, 0, 6, 1], [5, 4, 0, 1]])
    found = paired_difference(
        a,
        b,
        strata=10 + 5 * strata,
        statistic="worst_class_accuracy",
        generator=np.random.default_rng(0),
    )
    assert (found.worst_a, found.worst_b, found.strata, found.smallest) == (15, 20, 3, 10)
    assert found.low <= found.estimate <= found.high


@pytest.mark.parametrize("statistic", ["accuracy", "balanced_accuracy", "worst_group_accuracy"])
def test_subjects_with_a_single_image_change_nothing(statistic: Statistic) -> None:
    a, b, strata = outcomes([[60, 15, 5, 20], [30, 5, 5, 10]])
    one_each = np.random.default_rng(0).permutation(len(a))
    plain, of_subjects = (
        paired_difference(
            a, b, strata=strata, statistic=statistic, clusters=clusters, generator=np.random.default_rng(0)
        )
        for clusters in (None, one_each)
    )
    assert plain.n_subjects is None
    assert of_subjects == plain._replace(n_subjects=150)


@pytest.mark.parametrize("statistic", ["accuracy", "balanced_accuracy", "worst_group_accuracy"])
def test_twelve_copies_of_each_image_say_no_more_than_one(statistic: Statistic) -> None:
    a, b, strata = outcomes([[60, 15, 5, 20], [80, 5, 5, 10]])
    clusters = np.repeat(np.arange(len(a)), 12)
    alone = paired_difference(a, b, strata=strata, statistic=statistic, generator=np.random.default_rng(0))
    copies = (np.repeat(each, 12) for each in (a, b))
    copied = paired_difference(
        *copies,
        strata=np.repeat(strata, 12),
        statistic=statistic,
        clusters=clusters,
        generator=np.random.default_rng(0),
    )
    assert copied.estimate == pytest.approx(alone.estimate)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.12)
    assert (copied.n, copied.n_subjects, copied.smallest) == (2400, 200, alone.smallest)


def drawn(a: Bools, b: Bools, groups: Labels, subjects: Labels) -> tuple[Floats, Floats]:
    parts = ClusteredPairs(a, b, groups, subjects).draw(np.random.default_rng(0), 4000, pairs=0.0)
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)


def test_they_vary_as_in_a_bootstrap_of_whole_subjects() -> None:
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(60), 8)
    skill = np.repeat(rng.random((60, 2)), 8, axis=0)
    a, b = (rng.random((480, 2)) < skill).T
    first, second = drawn(a, b, np.zeros(480, np.int64), subjects)
    by_subject = (a.astype(float) - b).reshape(60, 8).mean(1)
    resampled = by_subject[rng.integers(60, size=(4000, 60))].mean(1)
    assert (first - second)[:, 0].mean() == pytest.approx(by_subject.mean(), abs=0.005)
    assert (first - second).std() == pytest.approx(resampled.std(), rel=0.06)


def test_a_subject_in_two_groups_ties_them() -> None:
    """Subjects are right in one group and wrong in the other: the accuracies of the groups move apart."""
    subjects, groups = np.repeat(np.arange(40), 10), np.tile(np.repeat([0, 1], 5), 40)
    right = (subjects % 2 == 0) == (groups == 0)
    first, second = drawn(right, right, groups, subjects)
    apart = np.corrcoef(first[:, 0], second[:, 1])[0, 1]
    assert apart == pytest.approx(-1, abs=0.01)
    assert np.allclose(first, second)


def test_a_group_of_one_subject_is_uncertain_however_many_images_it_has() -> None:
    subjects = np.repeat([0, 1, 2, 3, 4, 5], 20)
    groups = (subjects == 0).astype(np.int64)
    pairs = ClusteredPairs(np.ones(120, bool), np.ones(120, bool), groups, subjects)
    (accuracies, _), *_ = pairs.draw(np.random.default_rng(0), 1000, pairs=0.5)
    assert np.quantile(accuracies[:, 1], 0.1) == 0
    assert pairs.design_effects()[1] == pytest.approx([20, 20])
