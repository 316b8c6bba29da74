"""Splits: what is made, from what, and what is never touched."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from masktune.contract.vocabulary import Split
from models.data.splits import ALL_SPLITS, SPLITS, assign_splits, canonical_split


def test_the_splits_are_those_of_the_contract() -> None:
    assert get_args(Split) == ALL_SPLITS


def test_without_splits_everything_is_cut_from_the_data_set() -> None:
    result = assign_splits([None] * 1000, np.arange(1000) % 4)
    assert Counter(result.splits) == {"train": 600, "val": 100, "calibration": 150, "test": 150}
    assert result.record.given == ()
    assert set(result.record.made) == {"val", "calibration", "test"}


def test_train_and_test_keep_the_test() -> None:
    given_ = ["train"] * 800 + ["test"] * 200
    result = assign_splits(given_, np.zeros(1000, dtype=int))
    assert result.splits[800:] == ["test"] * 200
    assert Counter(result.splits[:800]) == {"train": 600, "val": 80, "calibration": 120}


def test_half_of_a_given_val_becomes_calibration() -> None:
    given_ = ["train"] * 60 + ["val"] * 20 + ["test"] * 20
    result = assign_splits(given_, np.arange(100) % 2)
    assert Counter(result.splits[60:80]) == {"val": 10, "calibration": 10}
    assert result.splits[:60] == ["train"] * 60
    cut = result.record.made["calibration"]
    assert (cut.donor, cut.size, cut.donor_size) == ("val", 10, 20)


def test_train_and_val_get_their_test_from_train() -> None:
    result = assign_splits(["train"] * 100 + ["val"] * 20, np.arange(120) % 2)
    assert Counter(result.splits) == {"train": 85, "test": 15, "val": 10, "calibration": 10}


def test_stratified_by_label_and_group() -> None:
    labels, groups = np.arange(2000) % 2, np.where(np.arange(2000) % 20 < 2, 1, 0)
    result = assign_splits([None] * 2000, labels, groups=groups)
    rare = [split for split, group in zip(result.splits, groups, strict=True) if group == 1]
    assert Counter(rare) == {"train": 120, "val": 20, "calibration": 30, "test": 30}
    assert result.record.stratified_by == ("label", "group")


def test_the_seed_decides() -> None:
    labels = np.arange(200) % 3
    first, again, other = (assign_splits([None] * 200, labels, seed=seed).splits for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_few_images_still_fill_every_split() -> None:
    assert set(assign_splits([None] * 6, np.arange(6) % 2).splits) == set(SPLITS)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(4, 9), min_size=2, max_size=40), st.integers(0, 9))
def test_a_class_of_four_images_keeps_one_to_train_on(sizes: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    splits = np.array(assign_splits([None] * len(labels), labels, seed=seed).splits)
    assert set(labels[splits == "train"]) == set(range(len(sizes)))


def test_without_subjects_the_cut_is_that_of_earlier_versions() -> None:
    splits = assign_splits([None] * 24, np.arange(24) % 3, seed=7).splits
    assert "".join(split[0] for split in splits) == "tttcttcccttvtvtttttttttt"
    no_subjects = assign_splits([None] * 24, np.arange(24) % 3, subjects=np.full(24, -1), seed=7)
    assert no_subjects.splits == splits
    assert not no_subjects.record.whole_subjects


def test_some_with_and_some_without_is_an_error() -> None:
    with pytest.raises(ValueError, match="either every image"):
        assign_splits(["train", None], np.zeros(2, dtype=int))
    with pytest.raises(ValueError, match="unknown splits"):
        assign_splits(["holdout"], np.zeros(1, dtype=int))


def test_names_people_use() -> None:
    assert canonical_split(" Validation ") == "val"
    assert canonical_split("cats") is None


@settings(max_examples=25, deadline=None)
@given(
    given_=st.lists(st.sampled_from(SPLITS), min_size=1, max_size=80)
    | st.lists(st.none(), min_size=1, max_size=80),
    data=st.data(),
)
def test_given_splits_only_shrink_and_twins_stay_together(
    given_: list[str | None], data: st.DataObject
) -> None:
    count = len(given_)
    numbers = st.lists(st.integers(0, 3), min_size=count, max_size=count)
    labels, twins = np.array(data.draw(numbers)), np.array(data.draw(numbers))
    result = assign_splits(given_, labels, twins=twins, seed=data.draw(st.integers(0, 5)))
    before = Counter(name or "train" for name in given_)
    after = Counter(result.splits)
    assert sum(after.values()) == count
    assert all(after[split] <= before[split] for split in result.record.given)
    for old, new in zip(given_, result.splits, strict=True):
        assert new == (old or "train") or result.record.made[new].donor == (old or "train")
    for donor in ("train", "val"):
        rows = [row for row in range(count) if (given_[row] or "train") == donor]
        for twin in {twins[row] for row in rows}:
            assert len({result.splits[row] for row in rows if twins[row] == twin}) == 1
    for split, cut in result.record.made.items():
        assert cut.size == after[split]


def bursts(seed: int, count: int, *, mixed: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) subjects of very different sizes, and labels: each subject of one class, or mostly of one."""
    rng = np.random.default_rng(seed)
    subjects = np.repeat(np.arange(count), rng.integers(1, 30, count))
    labels = rng.integers(0, 3, count)[subjects]
    if mixed:
        labels = np.where(rng.random(len(subjects)) < 0.3, rng.integers(0, 3, len(subjects)), labels)
    return subjects, labels


@settings(max_examples=25, deadline=None)
@given(
    given_=st.lists(st.sampled_from(("train", "val", "test")), min_size=1, max_size=80)
    | st.lists(st.none(), min_size=1, max_size=80),
    data=st.data(),
)
def test_a_made_split_cuts_no_subject_and_no_picture(given_: list[str | None], data: st.DataObject) -> None:
    count = len(given_)
    numbers = st.lists(st.integers(-1, 12), min_size=count, max_size=count)
    labels, twins, subjects = (np.array(data.draw(numbers)) for _ in range(3))
    result = assign_splits(given_, labels + 1, twins=twins, subjects=subjects, seed=1)
    for donor in ("train", "val"):
        rows = [row for row in range(count) if (given_[row] or "train") == donor]
        for units in (twins, subjects):
            for unit in {units[row] for row in rows} - ({-1} if units is subjects else set()):
                assert len({result.splits[row] for row in rows if units[row] == unit}) == 1
    for old, new in zip(given_, result.splits, strict=True):
        assert new in (old or "train", *result.record.made)


@pytest.mark.parametrize("subjects", [4, 5, 6, 9])
def test_four_subjects_fill_all_splits(subjects: int) -> None:
    of = np.repeat(np.arange(subjects), 6)
    result = assign_splits([None] * len(of), np.arange(len(of)) % 2, subjects=of)
    assert set(result.splits) == set(SPLITS)
    assert result.splits.count("train") == max(Counter(result.splits).values())


@pytest.mark.parametrize("subjects", [1, 2, 3])
def test_with_fewer_subjects_train_has_some(subjects: int) -> None:
    of = np.repeat(np.arange(subjects), 6)
    result = assign_splits([None] * len(of), np.arange(len(of)) % 2, subjects=of)
    assert "train" in result.splits
    assert len(set(result.splits)) == subjects


def test_a_subject_larger_than_a_split_is_trained_on() -> None:
    subjects = np.concatenate([np.zeros(500, int), np.repeat(np.arange(1, 41), 5)])
    result = assign_splits([None] * 700, np.arange(700) % 2, subjects=subjects)
    assert set(result.splits[:500]) == {"train"}
    assert min(Counter(result.splits).values()) >= 40


def test_every_class_keeps_a_subject_to_train_on() -> None:
    subjects = np.concatenate([np.zeros(900, int), np.repeat(np.arange(1, 8), 3)])
    labels = np.where(subjects == 0, 0, np.where(subjects < 7, 1, 2))
    splits = np.array(assign_splits([None] * len(labels), labels, subjects=subjects).splits)
    assert set(labels[splits == "train"]) == {0, 1, 2}
    assert set(splits) == set(SPLITS)


def test_samples_without_a_subject_are_divided_one_by_one() -> None:
    subjects = np.where(np.arange(400) < 100, np.arange(400) // 10, -1)
    result = assign_splits([None] * 400, np.arange(400) % 2, subjects=subjects)
    assert Counter(result.splits) == {"train": 240, "val": 40, "calibration": 60, "test": 60}


def test_from_test_images_alone_no_split_is_cut() -> None:
    result = assign_splits(["test"] * 12, np.arange(12) % 3, subjects=np.arange(12) // 2)
    assert result.splits == ["test"] * 12
    assert (result.record.given, result.record.made) == (("test",), {})
