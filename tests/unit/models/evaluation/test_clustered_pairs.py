"""Accuracies drawn as subjects vary: as in a bootstrap of whole subjects, also of those in two groups."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.clustered_pairs import ClusteredPairs
from models.types import Bools, Floats, Labels


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
