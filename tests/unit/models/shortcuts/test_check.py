"""The check finds what was painted, and says where and how well."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.data.layout import DatasetInfo
from models.data.store import Store
from models.shortcuts.check import check_properties, find_shortcuts
from models.shortcuts.findings import Finding, ShortcutCheck
from models.shortcuts.naive_bayes import binned, cross_fit, predict_unseen, stratified_folds
from models.shortcuts.properties import Property, PropertyTable
from tests.support.arrays import Arrays, write_arrays

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
AB = ("a", "b")


def table_of(**columns: NDArray[np.generic]) -> PropertyTable:
    """One property a column, named by its keyword."""
    properties = tuple(Property(name, "whole image", f"the {name}", ("value",)) for name in columns)
    values = np.stack([np.asarray(column, np.float32) for column in columns.values()], 1)
    return PropertyTable(np.arange(len(values)), properties, values)


def by_name(found: ShortcutCheck, name: str) -> Finding:
    return next(f for f in found.findings if f.property == name)


def noise_and(signal: NDArray[np.generic], seed: int = 0) -> PropertyTable:
    return table_of(noise=np.random.default_rng(seed).normal(size=len(signal)), signal=signal)


# the classifier


def test_folds_spread_every_class_evenly() -> None:
    labels = np.repeat([0, 1, 2], [50, 23, 7])
    folds = stratified_folds(labels, 5, np.random.default_rng(0))
    for label, size in ((0, 50), (1, 23), (2, 7)):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.sum() == size
        assert counts.max() - counts.min() <= 1


@given(st.lists(st.sampled_from([0.0, 1.0, 7.0]), min_size=3, max_size=40))
@settings(max_examples=30, deadline=None)
def test_equal_values_share_a_bin_and_the_ends_stand_apart(values: list[float]) -> None:
    column = np.array(values, np.float32)[:, None]
    place = binned(column).onehot.argmax(1)
    for a, b in zip(values, place.tolist(), strict=True):
        assert {p for v, p in zip(values, place.tolist(), strict=True) if v == a} == {b}
    if min(values) < max(values):
        assert place[np.argmin(values)] < place[np.argmax(values)]


def test_one_high_value_in_a_hundred_zeros_has_a_bin_of_its_own() -> None:
    column = np.zeros((100, 1), np.float32)
    column[17] = 9
    assert binned(column).onehot.sum(0).tolist() == [99, 1]


def test_many_labellings_are_the_same_as_one_at_a_time() -> None:
    rng = np.random.default_rng(0)
    labels = np.stack([rng.permutation(np.repeat([0, 1, 2], 30)) for _ in range(4)], 1)
    folds = np.arange(90) % 5
    bins = [binned(rng.normal(size=(90, 2)).astype(np.float32)) for _ in range(2)]
    together = cross_fit(bins, labels, folds)
    for index in range(4):
        alone = cross_fit(bins, labels[:, index : index + 1], folds)
        for many, one in zip(together, alone, strict=True):
            assert np.array_equal(many.hits[index], one.hits[0])
            assert np.array_equal(many.predicted[index], one.predicted[0])


def test_a_held_out_sample_is_never_learned_from() -> None:
    # Each value occurs once, so what is known of a sample is only its neighbours in other folds.
    values = np.arange(60, dtype=np.float32)[:, None]
    labels = np.random.default_rng(1).permutation(np.repeat([0, 1], 30))
    fitted = cross_fit([binned(values)], labels[:, None], np.arange(60) % 5)[0]
    assert fitted.hits.sum() < 45


def test_effects_are_one_for_a_perfect_rule_and_zero_for_a_constant() -> None:
    labels = np.repeat([0, 1, 2], 20)
    folds = np.arange(60) % 5
    values = (labels.astype(np.float32)[:, None], np.zeros((60, 1), np.float32))
    perfect, constant = cross_fit([binned(v) for v in values], labels[:, None], folds)
    assert perfect.effects()[0].tolist() == [1, 1, 1, 1]
    assert constant.effects()[0] == pytest.approx([0, 0, 0, 0], abs=0.3)


def test_elsewhere_uses_the_bins_of_the_fit() -> None:
    values = np.repeat([0.0, 10.0], 30).astype(np.float32)[:, None]
    labels = np.repeat([0, 1], 30)
    foreign = np.array([[-5.0], [0.0], [10.0], [99.0]], np.float32)
    assert predict_unseen(binned(values), values=foreign, labels=labels).tolist() == [0, 0, 1, 1]


# the judgement


@pytest.mark.parametrize(("ratio", "strength"), [(0.99, "strong"), (0.95, "strong"), (0.65, "weak")])
def test_strength_follows_the_ratio(ratio: float, strength: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 2
    mark = np.where(rng.random(1000) < ratio, labels, 1 - labels)
    found = check_properties(noise_and(mark), labels, AB, rng=rng, permutations=39)
    signal = by_name(found, "signal")
    assert (found.strength, found.findings[0]) == (strength, signal)
    assert signal.correct == (mark == labels).sum()
    assert signal.low < signal.accuracy < signal.high
    assert signal.effect == pytest.approx(2 * signal.balanced_accuracy - 1)
    assert signal.effect_low <= 2 * ratio - 1 <= signal.effect_high
    assert by_name(found, "noise").strength == "none"
    assert signal.p_value == 1 / 40


def test_the_baseline_of_accuracy_is_the_majority_and_that_of_the_balanced_one_is_not() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(1000) < 100).astype(np.int64)
    half = np.where(rng.random(1000) < 0.7, labels, 1 - labels)  # right in 70 %: worse than the majority
    found = by_name(check_properties(noise_and(half), labels, AB, rng=rng, permutations=39), "signal")
    assert (found.majority, found.chance) == (0.9, 0.5)
    assert found.accuracy == 0.9
    assert found.balanced_accuracy == pytest.approx(0.7, abs=0.06)
    assert found.strength == "weak"
    assert "accuracy, with all classes weighted equally (chance: 50.0 %)" in found.sentence


def test_a_mark_of_one_class_among_many_is_strong_and_named() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 10
    mark = (labels == 7) & (rng.random(1000) < 0.95)
    found = check_properties(noise_and(mark), labels, tuple("0123456789"), rng=rng, permutations=39)
    told = found.findings[0].best_class
    assert found.strength == "strong"
    assert (told.name, told.n, told.others, told.false) == ("7", 100, 900, 0)
    assert told.hits == mark.sum()
    assert found.findings[0].effect < 0.2
    assert found.findings[0].sentence.startswith("The signal alone tells 7 from the other classes")


def test_a_band_in_the_middle_is_found_as_well_as_a_threshold() -> None:
    values = np.linspace(-1, 1, 600)
    labels = (np.abs(values) < 0.5).astype(np.int64)
    found = check_properties(noise_and(values), labels, AB, rng=np.random.default_rng(0), permutations=39)
    assert by_name(found, "signal").accuracy > 0.85


def test_of_properties_that_tell_alike_the_one_that_says_where_is_first() -> None:
    labels = np.arange(200) % 2
    slightly_worse = np.where(np.arange(200) < 2, 1 - labels, labels)
    names = ("colour", "corner", "other corner")
    places = ("whole image", "top-left corner", "top-right corner")
    properties = tuple(Property(n, w, n, ("value",)) for n, w in zip(names, places, strict=True))
    values = np.stack([labels, slightly_worse, np.random.default_rng(0).permutation(labels)], 1)
    table = PropertyTable(np.arange(200), properties, values.astype(np.float32))
    found = check_properties(table, labels, AB, rng=np.random.default_rng(0), permutations=39)
    assert [f.property for f in found.findings] == ["corner", "colour", "other corner"]


def test_small_classes_are_left_out_and_named() -> None:
    labels = np.repeat([0, 1, 2], [50, 50, 9])
    found = check_properties(noise_and(labels), labels, "abc", rng=np.random.default_rng(0), permutations=19)
    assert (found.classes, found.left_out, found.n) == (("a", "b"), ("c",), 100)
    assert found.sentence.endswith(" Not judged: 1 of 3 classes, the smallest.")
    alone = check_properties(noise_and(labels[:59]), labels[:59], "abc", rng=np.random.default_rng(0))
    assert (alone.strength, alone.findings, alone.left_out) == ("none", (), ("b", "c"))


def test_the_same_seed_gives_the_same_check_in_plain_json() -> None:
    labels = np.arange(100) % 2
    first, second = (
        asdict(check_properties(noise_and(labels), labels, AB, rng=np.random.default_rng(4), permutations=19))
        for _ in range(2)
    )
    assert first == second
    assert json.loads(json.dumps(first))["findings"][0]["best_class"]["n"] == 50


# on a store


@pytest.fixture
def painted(tmp_path: Path) -> Store:
    """Noise; a red corner on the second class in train, on the first one in test."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (400, 16, 16, 3)).astype(np.uint8)
    labels = np.arange(400) % 2
    splits = ["train"] * 300 + ["test"] * 100
    marked = np.where(np.arange(400) < 300, labels == 1, labels == 0)
    images[marked, -3:, -3:] = (255, 0, 0)
    return write_arrays(tmp_path / "store", Arrays(images, labels, splits), DatasetInfo("x", "y", AB))


def test_a_painted_square_is_found_before_any_training(painted: Store) -> None:
    found = find_shortcuts(painted, rng=np.random.default_rng(0), permutations=39)
    best = found.findings[0]
    assert (found.split, found.n, found.available, found.strength) == ("train", 300, 300, "strong")
    assert (best.where, best.correct) == ("bottom-right corner", 300)
    assert best.elsewhere is not None
    assert best.elsewhere.correct == 0
    assert by_name(found, "top-left corner").strength == "none"
    assert found.sentence.startswith(
        "The look of the bottom-right corner alone tells a from b with 100.0 % accuracy (chance: 50.0 %). "
        "On the test split, the same rule is right on 0.0 %."
    )


def test_a_sample_is_drawn_and_said(painted: Store) -> None:
    found = find_shortcuts(painted, rng=np.random.default_rng(0), max_images=80, permutations=19)
    assert (found.n, found.available) == (80, 300)
    assert found.findings[0].elsewhere is not None
    assert found.findings[0].elsewhere.n == 20


def test_a_picture_that_stands_often_counts_once(tmp_path: Path) -> None:
    """Its copies in the other folds would tell its label, whatever that is."""
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8), rng.integers(0, 2, 60)
    splits = ["train"] * 200 + ["test"] * 100
    arrays = Arrays(np.repeat(pictures, 5, 0), np.repeat(labels, 5), splits)
    write_arrays(tmp_path / "store", arrays, DatasetInfo("x", "y", AB))
    found = find_shortcuts(Store.open(tmp_path / "store"), rng=rng, permutations=39)
    assert (found.n, found.available, found.strength) == (40, 40, "none")
    assert found.findings[0].elsewhere is not None
    assert found.findings[0].elsewhere.n == 20


def test_an_empty_split_is_nothing_to_judge(painted: Store) -> None:
    found = find_shortcuts(painted, rng=np.random.default_rng(0), split="val")
    assert (found.split, found.n, found.strength, found.left_out) == ("val", 0, "none", AB)


def test_it_tells_how_far_it_is_and_ends_when_told(painted: Store) -> None:
    told: list[tuple[int, int]] = []

    def on_progress(done: int, total: int) -> None:
        told.append((done, total))
        if done == total:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        find_shortcuts(painted, rng=np.random.default_rng(0), on_progress=on_progress)
    assert told == [(256, 300), (300, 300)]
