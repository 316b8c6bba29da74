"""Subjects of splits, and those that a split shares with what the models were fitted to or chosen by."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.data.layout import DatasetInfo
from models.data.store import Store
from tests.support.arrays import Arrays, write_arrays
from worker.report.subjects import shared_subjects, split_subjects


def store(directory: Path, splits: list[str], subjects: list[str | None]) -> Store:
    images = np.zeros((len(splits), 8, 8, 3), dtype=np.uint8)
    arrays = Arrays(images, np.zeros(len(splits), dtype=np.int64), splits)
    write_arrays(directory, arrays, DatasetInfo("pets", "csv", ("cat", "dog")), subjects=subjects)
    return Store.open(directory)


def test_subjects_are_counted_once_per_split_and_shared_with_train_and_val(tmp_path: Path) -> None:
    splits = ["train", "train", "train", "val", "val", "calibration", "test", "test", "test", "test"]
    subjects = ["a", "a", "b", "a", "c", "d", "a", "c", "c", None]
    opened = store(tmp_path, splits, subjects)
    assert split_subjects(opened) == {"train": 2, "val": 2, "calibration": 1, "test": 2}
    assert shared_subjects(opened) == {"val": {"train": 1}, "test": {"train": 1, "val": 2}}


def test_without_subjects_nothing_is_shared(tmp_path: Path) -> None:
    opened = store(tmp_path, ["train", "test"], [None, None])
    assert (split_subjects(opened), shared_subjects(opened)) == ({}, {})
