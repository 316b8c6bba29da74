"""Whether the groups of a data set divide a class, and are large enough to balance a head over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.data.group_sizes import groups_divide
from models.data.layout import DatasetInfo
from models.data.store import Store
from tests.support.arrays import Arrays, write_arrays
from tests.support.seeds import shifted

LABELS = [0] * 15 + [1] * 9
GROUPS = [0] * 10 + [1] * 5 + [1] * 9
"""Class a has ten images of one group and five of another, class b nine of the second."""


def made(
    folder: Path, groups: list[int], *, copied: int = 0, test: int | None = None, one_subject: bool = False
) -> Store:
    """The data set with these groups in training. The last `copied` images of class a are one picture, or
    its last two are of one subject; `test` is the group of a single test image of class b."""
    labels, splits = list(LABELS), ["train"] * len(LABELS)
    if test is not None:
        labels, groups, splits = [*labels, 1], [*groups, test], [*splits, "test"]
    rng = np.random.default_rng(shifted(0))
    images = rng.integers(0, 256, (len(labels), 4, 4, 3)).astype(np.uint8)
    images[15 - copied : 15] = images[14]
    subjects = [f"patient {min(row, 13) if row < 15 else row}" for row in range(len(labels))]
    arrays = Arrays(images, np.array(labels), splits, np.array(groups))
    info = DatasetInfo("x", "y", ("a", "b"), ("plain", "square", "other"))
    return write_arrays(folder / "store", arrays, info, subjects=subjects if one_subject else [])


def test_they_do_if_each_that_occurs_has_five_distinct_images(tmp_path: Path) -> None:
    assert groups_divide(made(tmp_path, GROUPS))


def test_a_group_of_test_images_alone_changes_nothing(tmp_path: Path) -> None:
    assert groups_divide(made(tmp_path, GROUPS, test=2))


@pytest.mark.parametrize(
    "groups",
    [
        [0] * 11 + [1] * 4 + [1] * 9,  # four in training
        [0] * 15 + [1] * 9,  # each class is of one group
        [0] * 24,
        [-1] * 24,
        [-1, *GROUPS[1:]],  # one image has none
    ],
)
def test_small_groups_one_for_a_class_and_missing_ones_do_not(tmp_path: Path, groups: list[int]) -> None:
    assert not groups_divide(made(tmp_path, groups))


def test_copies_of_an_image_and_images_of_a_subject_count_once(tmp_path: Path) -> None:
    assert not groups_divide(made(tmp_path / "copies", GROUPS, copied=2))
    assert not groups_divide(made(tmp_path / "subjects", GROUPS, one_subject=True))


def test_one_class_may_be_divided_alone(tmp_path: Path) -> None:
    assert groups_divide(made(tmp_path, [0] * 10 + [1] * 5 + [2] * 9))
