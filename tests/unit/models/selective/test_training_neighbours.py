"""How far an input is from the training images, and the threshold that holds whatever the distances are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.selective import (
    LEAST_HELD_OUT,
    NEIGHBOURS,
    CalibrationTable,
    NeighboursError,
    TrainingNeighbours,
    count_split,
)
from models.selective.certify import certified_step
from models.types import Floats32


def _values(n: int, *, seed: int = 0, d: int = 6) -> Floats32:
    return np.random.default_rng(seed).normal(0.5, 1, (n, d)).astype(np.float32)


def test_the_distance_is_by_the_cosine_to_the_tenth_nearest() -> None:
    training, values = _values(40), _values(7, seed=1)
    distances = TrainingNeighbours.fit(training, _values(120, seed=2)).distances(values)
    for value, distance in zip(values, distances, strict=True):
        cosines = sorted(
            float(value @ other / np.linalg.norm(value) / np.linalg.norm(other)) for other in training
        )
        assert distance == pytest.approx(1 - cosines[-NEIGHBOURS], abs=1e-3)  # training images have 16 bits


def test_the_distance_depends_on_neither_the_length_of_an_input_nor_on_the_others() -> None:
    neighbours = TrainingNeighbours.fit(_values(40), _values(120, seed=2))
    values = _values(2500, seed=1)  # more than are compared at once
    distances = neighbours.distances(values)
    np.testing.assert_allclose(neighbours.distances(values * np.float32(1e3)), distances, atol=1e-5)
    np.testing.assert_allclose(neighbours.distances(values[2100:2101]), distances[2100:2101], atol=1e-5)


@pytest.mark.parametrize(("n", "rank"), [(99, 99), (100, 100), (199, 198), (999, 990), (1000, 991)])
def test_the_threshold_is_a_rank_of_the_held_out_distances(n: int, rank: int) -> None:
    held_out = _values(n, seed=3)
    neighbours = TrainingNeighbours.fit(_values(50), held_out)
    assert neighbours.threshold == np.sort(neighbours.distances(held_out))[rank - 1]
    assert neighbours.unlike(held_out).sum() == n - rank


def test_at_most_one_in_a_hundred_exchangeable_inputs_is_called_unlike() -> None:
    """Exactly: whichever of a hundred is the new one."""
    training, hundred = _values(30), _values(LEAST_HELD_OUT + 1, seed=4)
    beyond = [
        TrainingNeighbours.fit(training, np.delete(hundred, new, axis=0)).unlike(hundred[new : new + 1])[0]
        for new in range(len(hundred))
    ]
    assert sum(beyond) == 1


def test_too_few_images_give_no_threshold() -> None:
    TrainingNeighbours.fit(_values(NEIGHBOURS), _values(LEAST_HELD_OUT))
    for training, held_out in ((NEIGHBOURS - 1, LEAST_HELD_OUT), (NEIGHBOURS, LEAST_HELD_OUT - 1)):
        with pytest.raises(ValueError, match="10 training images and 99 held-out ones"):
            TrainingNeighbours.fit(_values(training), _values(held_out))


def test_an_input_of_zeros_is_as_far_as_a_right_angle_and_one_that_is_not_finite_unlike() -> None:
    neighbours = TrainingNeighbours.fit(_values(30), _values(99, seed=1))
    broken = np.stack([np.zeros(6), np.full(6, np.nan), np.full(6, np.inf)]).astype(np.float32)
    assert neighbours.distances(broken).tolist() == [1, np.inf, np.inf]
    assert neighbours.unlike(broken)[1:].all()


def test_a_file_gives_the_same_distances(tmp_path: Path) -> None:
    neighbours, values = TrainingNeighbours.fit(_values(30), _values(99, seed=1)), _values(9, seed=2)
    neighbours.save(tmp_path / "neighbours.safetensors")
    loaded = TrainingNeighbours.load(tmp_path / "neighbours.safetensors")
    assert loaded.threshold == neighbours.threshold
    np.testing.assert_array_equal(loaded.distances(values), neighbours.distances(values))


def test_a_file_of_the_first_release_says_which_images_they_are_and_is_read(tmp_path: Path) -> None:
    arrays = {"vectors": _values(20).astype(np.float16), "threshold": np.array(0.5)}
    save_file(arrays | {"rows": np.arange(20), "labels": np.arange(20)}, tmp_path / "first.safetensors")
    assert TrainingNeighbours.load(tmp_path / "first.safetensors").threshold == 0.5


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "neighbours.safetensors"
    TrainingNeighbours.fit(_values(30), _values(99, seed=1)).save(file)
    whole = file.read_bytes()
    for content in (b"", whole[:100], whole[:-100], b"no archive"):
        file.write_bytes(content)
        with pytest.raises(NeighboursError, match=r"neighbours\.safetensors holds no training neighbours"):
            TrainingNeighbours.load(file)
    for arrays in (
        {"vectors": np.ones((20, 3))},
        {"vectors": np.full((20, 3), np.nan), "threshold": np.array(1.0)},
    ):
        save_file(arrays, file)
        with pytest.raises(NeighboursError, match=r"neighbours\.safetensors"):
            TrainingNeighbours.load(file)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        TrainingNeighbours.load(file)


def test_images_that_are_unlike_count_and_are_answered_at_no_threshold() -> None:
    logits = np.array([[3, 0], [2, 0], [0, 1], [0, 4]], np.float32)
    labels = np.array([0, 1, 1, 1])
    unlike = np.array([False, True, False, True])
    tables = count_split(
        logits,
        None,
        labels,
        classes=("a", "b"),
        groups=np.array([0, 0, 0, -1]),
        group_names=("g",),
        temperature=1.0,
        unlike=unlike,
    )
    table = tables.scores["max_softmax"]
    assert (table.n, table.at(-np.inf)) == (4, (2, 0))
    assert tables.unlike_answered["max_softmax"].at(-np.inf) == (4, 1)
    assert (tables.groups["max_softmax"]["g"].n, tables.groups["max_softmax"]["g"].at(-np.inf)) == (3, (2, 0))
    assert tables.predicted["max_softmax"]["a"].at(-np.inf) == (1, 0)
    assert tables.classes["max_softmax"]["b"].at(-np.inf) == (1, 0)
    assert [len(own) for own in tables.true_log_probabilities.values()] == [1, 3], "sets are for all inputs"


def test_a_certificate_for_inputs_that_are_alike_is_broken_as_rarely_as_promised() -> None:
    """A tenth of the population is far from the training images, and the model sure and wrong there. In each
    draw the threshold of distances is of other images; the rule is held against the whole population."""
    rng, confidence, max_risk, draws, size = np.random.default_rng(0), 0.9, 0.1, 400, 20_000
    is_far = rng.random(size) < 0.1
    distances = np.where(is_far, rng.uniform(0.5, 1, size), rng.uniform(0, 0.6, size))
    sure = np.where(is_far, 5.0, rng.exponential(2.0, size))
    wrong = rng.random(size) < np.where(is_far, 0.9, 0.3 * np.exp(-sure))
    scores, near = -np.log1p(np.exp(-sure)), np.flatnonzero(~is_far)
    thresholds, broken, broken_without = 0, 0, 0
    for _ in range(draws):
        furthest = distances[rng.choice(near, LEAST_HELD_OUT)].max()
        decided = np.where(distances > furthest, -np.inf, scores)
        counted = rng.integers(size, size=400)
        table = CalibrationTable.build(decided[counted], ~wrong[counted])
        step = certified_step(table, max_risk, confidence)
        if step is not None:
            threshold = table.thresholds[step]
            thresholds += 1
            broken += wrong[decided >= threshold].mean() > max_risk
            broken_without += wrong[scores >= threshold].mean() > max_risk
    allowed = draws * (1 - confidence) + 3 * (draws * confidence * (1 - confidence)) ** 0.5
    assert broken <= allowed < broken_without
    assert thresholds > draws / 2
