"""Slices are found where a class is looked at in several ways, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.shortcuts.clustering import MIN_SIZE, cluster, k_means
from models.shortcuts.slices import InferredSlices, SliceInputs, infer_slices

Maps = NDArray[np.float32]
Labels = NDArray[np.int64]


def blobs(centres: Labels, *, side: int = 7, seed: int = 0, noise: float = 0.05) -> Maps:
    """A bright spot at a place (N, 2) of each map, on weak noise, at any scale."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    squares = (y - centres[:, :1, None]) ** 2 + (x - centres[:, 1:, None]) ** 2
    maps = np.exp(-squares / 2) + noise * rng.random((len(centres), side, side))
    scaled: Maps = (maps * rng.gamma(2, size=(len(centres), 1, 1))).astype(np.float32)
    return scaled


def two_ways(n: int = 200) -> tuple[SliceInputs, Labels]:
    """Class 0 is looked at in two corners (3 to 1), class 1 without any order."""
    rng = np.random.default_rng(1)
    labels = np.arange(n) % 2
    way = (np.arange(n) // 2 % 4 == 0).astype(np.int64)
    maps = blobs(np.where(way[:, None] == 0, [[1, 1]], [[5, 5]]))
    maps[labels == 1] = rng.gamma(0.5, size=(n // 2, 7, 7))
    groups = np.where(labels == 0, way, 2)
    return SliceInputs(np.arange(n) * 3 + 5, labels, maps, groups), way


def infer(inputs: SliceInputs, seed: int = 0, **predictions: Labels) -> InferredSlices:
    return infer_slices(
        inputs, classes=("a", "b", "c"), predictions=predictions, rng=np.random.default_rng(seed)
    )


def test_two_ways_of_looking_are_two_slices_and_noise_is_one() -> None:
    inputs, _ = two_ways()
    found = infer(inputs)
    assert [(c.class_name, c.n, c.slices) for c in found.classes] == [
        ("a", 100, 2),
        ("b", 100, 1),
        ("c", 0, 0),
    ]
    assert [(s.class_name, s.index, s.n, s.share) for s in found.slices] == [
        ("a", 0, 75, 0.75),
        ("a", 1, 25, 0.25),
        ("b", 0, 100, 1.0),
    ]
    assert found.inferred


def test_a_slice_knows_its_accuracy_under_each_model() -> None:
    inputs, way = two_ways()
    cheating = np.where(way == 1, 1 - inputs.labels, inputs.labels)
    first, second, other = infer(inputs, erm=cheating, masktune=inputs.labels).slices
    assert [(a.model, a.correct, a.n) for a in first.accuracies] == [("erm", 75, 75), ("masktune", 75, 75)]
    assert [(a.model, a.correct) for a in second.accuracies] == [("erm", 0), ("masktune", 25)]
    assert second.accuracies[0].low == 0
    assert second.accuracies[0].high == pytest.approx(0.133, abs=0.001)
    assert [a.n for a in other.accuracies] == [100, 100]


def test_examples_are_of_the_slice_and_its_map_is_where_it_looks() -> None:
    inputs, way = two_ways()
    slices = infer(inputs).slices
    for index, place in enumerate([(1, 1), (5, 5)]):
        found = slices[index]
        assert len(set(found.examples)) == 8
        positions = (np.array(found.examples) - 5) // 3
        assert (way[positions] == index).all()
        assert (inputs.labels[positions] == 0).all()
        assert np.sum(found.mean_map) == pytest.approx(1)
        assert int(np.argmax(found.mean_map)) == 7 * place[0] + place[1]


def test_the_agreement_with_true_groups_is_told_honestly() -> None:
    inputs, _ = two_ways()
    found, alone = (c.agreement for c in infer(inputs).classes[:2])
    assert found is not None
    assert found.adjusted_mutual_information == pytest.approx(1)
    assert (found.degree, found.n) == ("high", 100)
    blind = inputs._replace(groups=np.random.default_rng(0).integers(0, 2, 200))
    missed = infer(blind).classes[0].agreement
    assert missed is not None
    assert missed.adjusted_mutual_information < 0.1
    assert missed.degree in ("low", "partial")
    assert alone is None  # a single group
    assert infer(inputs._replace(groups=None)).classes[0].agreement is None


def test_intervals_of_slices_count_subjects() -> None:
    inputs, way = two_ways()
    noisy = inputs._replace(groups=np.where(np.arange(200) % 16 < 2, 1 - way, way))
    of_five = noisy._replace(clusters=np.arange(200) // 2 % 40 // 8 + 5 * way)
    images, subjects = (infer(one, erm=np.zeros(200, np.int64) + way) for one in (noisy, of_five))
    for one, other in zip(images.slices, subjects.slices, strict=True):
        assert (one.n, one.examples) == (other.n, other.examples)
    first, second = images.slices[0].accuracies[0], subjects.slices[0].accuracies[0]
    assert (first.n_subjects, second.n_subjects) == (None, 5)
    assert second.high - second.low > 2 * (first.high - first.low)
    alone, together = images.classes[0].agreement, subjects.classes[0].agreement
    assert alone is not None
    assert together is not None
    assert together.adjusted_mutual_information == alone.adjusted_mutual_information
    assert (together.low, together.high) != (alone.low, alone.high)
    singles = infer(noisy._replace(clusters=np.arange(200)))
    assert singles.classes == images.classes


@pytest.mark.parametrize("rare", [1, 3, 10])
def test_a_class_that_was_not_cut_follows_no_groups_however_rare(rare: int) -> None:
    """Resamples without the rare group: one group and one slice, which scikit-learn calls the same."""
    inputs, _ = two_ways()
    groups = np.zeros(200, np.int64)
    groups[1 : 2 * rare : 2] = 1
    agreement = infer(inputs._replace(groups=groups)).classes[1].agreement
    assert agreement is not None
    assert (agreement.adjusted_mutual_information, agreement.low, agreement.high) == (0, 0, 0)
    assert agreement.degree == "low"


def test_maps_without_mass_are_counted_and_not_cut() -> None:
    inputs, _ = two_ways()
    inputs.maps[[0, 8]] = 0
    inputs.maps[2] = np.nan
    found = infer(inputs).classes[0]
    assert (found.n, found.undefined) == (97, 3)


def test_large_maps_are_cut_like_small_ones() -> None:
    way = (np.arange(120) % 3 == 0).astype(np.int64)
    maps = blobs(np.where(way[:, None] == 0, [[4, 4]], [[22, 22]]), side=28)
    found = infer(SliceInputs(np.arange(120), np.zeros(120, np.int64), np.repeat(maps, 1, 0)))
    assert [s.n for s in found.slices] == [80, 40]
    assert np.shape(found.slices[0].mean_map) == (28, 28)


def test_the_same_seed_gives_the_same_slices() -> None:
    inputs, _ = two_ways(80)
    first, second = (infer(inputs, seed=2, erm=inputs.labels) for _ in range(2))
    assert first == second
    assert first.inferred


# the clustering


def test_k_means_finds_separate_clumps() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    points = np.repeat(truth, 25, 0) + rng.normal(size=(100, 2))
    centres = k_means(points, 4, rng)
    gaps = np.linalg.norm(centres[:, None] - truth[None], axis=2)
    assert sorted(gaps.argmin(1).tolist()) == [0, 1, 2, 3]
    assert gaps.min(1).max() < 0.7


def test_one_elongated_cloud_is_not_cut_though_its_silhouette_is_good() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        found = cluster(rng.normal(size=(150, 4)) * [8, 1, 1, 1], rng)
        assert found.silhouette is not None
        assert found.silhouette > 0.3
        assert found.clusters == 1


@pytest.mark.parametrize("count", [0, 1, 2 * MIN_SIZE - 1])
def test_a_few_points_are_never_cut(count: int) -> None:
    found = cluster(np.random.default_rng(0).normal(size=(count, 2)), np.random.default_rng(0))
    assert (found.clusters, len(found.assigned), found.silhouette) == (min(1, count), count, None)


def test_equal_points_are_one_cluster() -> None:
    assert cluster(np.ones((40, 3)), np.random.default_rng(0)).clusters == 1
