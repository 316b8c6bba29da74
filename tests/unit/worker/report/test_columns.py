"""Columns that tell the class: whether an image separates the two, and what can be held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from masktune.contract.report.columns import ColumnShortcut
from models.data.layout import DatasetInfo
from models.data.store import Store
from tests.support.arrays import Arrays, write_arrays
from worker.report.columns import column_shortcuts, is_grouping, separating, value_to_hold_out


def store(
    directory: Path,
    labels: Sequence[int],
    cells: Sequence[str],
    *,
    groups: Sequence[int] | None = None,
    splits: Sequence[str] | None = None,
) -> Store:
    images = np.zeros((len(labels), 8, 8, 3), dtype=np.uint8)
    arrays = Arrays(
        images,
        np.array(labels),
        list(splits or ["train"] * len(labels)),
        groups=None if groups is None else np.array(groups),
    )
    names = tuple(f"group {number}" for number in range(max(groups or [0]) + 1)) if groups else ()
    info = DatasetInfo("pets", "csv", ("cat", "dog"), group_names=names)
    write_arrays(directory, arrays, info, metadata={"site": cells})
    return Store.open(directory)


@pytest.mark.parametrize(
    ("cells", "count"),
    [
        (["A", "A", "B", "B"], 0),
        (["A", "B", "C", "C"], 0),
        (["A", "", "B", "B"], 0),
        (["A", "", "", "B"], 1),
        (["A", "B", "B", "B"], 1),
        (["A", "B", "A", "B"], 2),
        (["1", "2", "3", "4"], 0),
        (["3.5", "4", "1", "1"], 0),
        (["1", "3", "2", "4"], 2),
        (["1", "4", "2", "3"], 2),
        (["1", "2", "2", "3"], 2),
        (["1", "", "", "2"], 1),
    ],
)
def test_images_that_separate_the_class_from_a_column_are_counted(
    tmp_path: Path, cells: list[str], count: int
) -> None:
    opened = store(tmp_path / "ds", [0, 0, 1, 1], cells)
    assert separating(opened.metadata["site"], opened.labels, np.arange(4)) == count


def test_only_training_images_separate(tmp_path: Path) -> None:
    splits = ["train", "train", "test"]
    opened = store(tmp_path / "ds", [0, 1, 1], ["A", "B", "A"], splits=splits)
    strong: Any = SimpleNamespace(property="site", strength="strong", sentence="Site tells.")
    none: Any = SimpleNamespace(property="site", strength="none")
    check: Any = SimpleNamespace(findings=[strong, none])
    assert column_shortcuts(opened, check) == [
        ColumnShortcut(column="site", sentence="Site tells.", separating=0, is_grouping=False)
    ]
    assert column_shortcuts(opened, None) == []


@pytest.mark.parametrize(
    ("groups", "expected"),
    [([0, 1, 2, 2], True), ([0, 1, 2, 3], False), ([0, 0, 1, 1], False), (None, False)],
)
def test_groups_are_those_of_a_column_if_each_pair_is_one(
    tmp_path: Path, groups: list[int] | None, expected: bool
) -> None:
    opened = store(tmp_path / "ds", [0, 0, 1, 1], ["A", "B", "A", "A"], groups=groups)
    assert is_grouping(opened, opened.metadata["site"]) is expected


def counted(tmp_path: Path, **counts: tuple[int, int]) -> Store:
    """A data set with so many cats and dogs of each site."""
    rows = [(label, site) for site, both in counts.items() for label in (0, 1) for _ in range(both[label])]
    return store(tmp_path / "ds", [label for label, _ in rows], [site for _, site in rows])


@pytest.mark.parametrize(
    ("counts", "value"),
    [
        ({"oslo": (50, 3), "rome": (2, 60), "bern": (20, 15)}, "bern"),
        ({"oslo": (50, 12), "rome": (11, 60)}, "oslo"),
        ({"oslo": (50, 0), "rome": (0, 60)}, None),
        ({"oslo": (50, 60), "rome": (9, 9)}, None),
    ],
)
def test_the_value_to_hold_out_has_both_classes_and_leaves_both(
    tmp_path: Path, counts: dict[str, Any], value: str | None
) -> None:
    opened = counted(tmp_path, **counts)
    assert value_to_hold_out(opened, opened.metadata["site"]) == value
