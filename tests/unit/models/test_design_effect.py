"""How much clusters of samples widen an interval: none that are independent, Kish's where all are alike."""

from __future__ import annotations

import numpy as np
import pytest

from models.statistics import design_effect, few_clusters, mean_share, student, wilson
from models.types import Bools, Labels


def subjects(rng: np.random.Generator, sizes: Labels, *, accuracy: float, correlation: float) -> Bools:
    """Outcomes of images of such many subjects: right below a threshold of normal scores that correlate."""
    from scipy.special import ndtri

    of_subject = np.repeat(rng.standard_normal(len(sizes)), sizes)
    own = rng.standard_normal(int(sizes.sum()))
    return np.asarray(correlation**0.5 * of_subject + (1 - correlation) ** 0.5 * own < ndtri(accuracy))


def test_independent_samples_have_none() -> None:
    right = np.arange(50) % 3 > 0
    assert design_effect(right, None) == 1.0
    assert design_effect(right, np.random.default_rng(0).permutation(50)) == 1.0


def test_of_outcomes_that_are_alike_within_clusters_it_is_the_size_of_a_cluster() -> None:
    clusters = np.repeat(np.arange(40), 12)
    assert design_effect(clusters % 4 > 0, clusters) == pytest.approx(12, rel=0.05)
    sizes = np.array([30, 6, 6, 6, 12] * 20)
    unequal = np.repeat(np.arange(100), sizes)
    kish = (sizes**2).sum() / sizes.sum()
    assert design_effect(np.ones(len(unequal)), unequal) == pytest.approx(kish)


def test_clusters_that_do_not_matter_cost_little() -> None:
    rng = np.random.default_rng(0)
    effects = [design_effect(rng.random(1200) < 0.8, np.repeat(np.arange(100), 12)) for _ in range(50)]
    assert 1 <= np.mean(effects) < 1.4


@pytest.mark.parametrize("correct", [0, 1, 1199, 1200])
def test_outcomes_that_hardly_vary_do_not_make_subjects_look_independent(correct: int) -> None:
    clusters = np.repeat(np.arange(100), 12)
    effect = design_effect(np.arange(1200) < correct, clusters)
    assert 8 < effect <= 12


def test_a_single_cluster_counts_as_a_single_sample() -> None:
    assert design_effect([1, 1, 0, 1], np.zeros(4, np.int64)) == pytest.approx(4)


def test_few_clusters_widen_by_students_t() -> None:
    assert few_clusters([9, 1e9]) == pytest.approx([(2.262157 / 1.959964) ** 2, 1], rel=1e-5)


@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize(("clusters", "accuracy"), [(10, 0.8), (20, 0.9), (100, 0.9)])
def test_intervals_of_shares_hold_their_confidence(clusters: int, accuracy: float, unequal: bool) -> None:
    rng = np.random.default_rng(0)
    held = ignored = 0
    for _ in range(300):
        sizes = rng.integers(4, 21, clusters) if unequal else np.full(clusters, 12)
        right = subjects(rng, sizes, accuracy=accuracy, correlation=0.6)
        n, k = len(right), int(right.sum())
        effect = design_effect(right, np.repeat(np.arange(clusters), sizes))
        low, high = wilson(k / effect, n / effect)
        held += low <= accuracy <= high
        low, high = wilson(k, n)
        ignored += low <= accuracy <= high
    assert held >= 277  # 0.95, less two standard errors of the simulation
    assert ignored < 225


def test_a_mean_over_classes_knows_of_subjects_with_images_of_each() -> None:
    """Subjects are right in both classes or in neither; or in one of them, so that the mean is sure."""
    classes = np.tile(np.repeat([0, 1], 6), 50)
    clusters = np.repeat(np.arange(50), 12)
    alike = (clusters % 2).astype(np.float64)
    opposite = np.where(classes == 0, alike, 1 - alike)
    assert design_effect(alike, clusters, strata=classes) == pytest.approx(12, rel=0.05)
    assert design_effect(opposite, clusters, strata=classes) == 1.0
    shares = [(150, 300), (150, 300)]
    together = mean_share(shares, effect=design_effect(alike, clusters, strata=classes))
    assert together == pytest.approx(wilson(25, 50), abs=0.01)


def test_a_class_of_a_single_subject_says_nothing_of_how_subjects_differ() -> None:
    clusters = np.array([0] * 12 + [1] * 12)
    right = np.tile([1, 1, 0], 8)
    assert design_effect(right, clusters, strata=clusters) == pytest.approx(12)


def test_copies_of_values_do_not_narrow_students_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    clusters = np.repeat(np.arange(30), 8)
    alone, copied = student(values), student(np.repeat(values, 8), clusters=clusters)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.06)
    assert student(values, clusters=np.arange(30)) == alone
