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
from worker.report.columns import (
    column_groups,
    column_shortcuts,
    deciding_columns,
    is_grouping,
    separating,
    value_to_hold_out,
)


def store(
    directory: Path,
    labels: Sequence[int],
    cells: Sequence[str],
    *,
    groups: Sequence[int] | None = None,
    splits: Sequence[str] | None = None,
) -> Store:
    images = np.zeros((len(labels), 8, 8, 3), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.divmod(np.arange(len(labels)), 256)  # no copies
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
    figures: Any = SimpleNamespace(by_column={})
    plain: Any = {"column": "site", "sentence": "Site tells.", "separating": 0, "is_grouping": False}
    assert column_shortcuts(opened, check, figures) == [ColumnShortcut(**plain, strength="strong")]
    assert column_shortcuts(opened, None, figures) == []


@pytest.mark.parametrize(
    ("groups", "expected"),
    [([0, 1, 2, 2], True), ([0, 1, 2, 3], False), ([0, 0, 1, 1], False), (None, False)],
)
def test_groups_are_those_of_a_column_if_each_pair_is_one(
    tmp_path: Path, groups: list[int] | None, expected: bool
) -> None:
    opened = store(tmp_path / "ds", [0, 0, 1, 1], ["A", "B", "A", "A"], groups=groups)
    assert is_grouping(opened, opened.metadata["site"]) is expected


def counted(tmp_path: Path, *, split: str = "train", **counts: tuple[int, int]) -> Store:
    """A data set with so many cats and dogs of each site."""
    rows = [(label, site) for site, both in counts.items() for label in (0, 1) for _ in range(both[label])]
    sites = ["" if site == "unknown" else site for _, site in rows]
    return store(tmp_path / "ds", [label for label, _ in rows], sites, splits=[split] * len(rows))


@pytest.mark.parametrize(
    ("counts", "decides"),
    [
        ({"oslo": (30, 10), "rome": (0, 30)}, True),
        ({"oslo": (30, 10), "rome": (9, 9)}, False),
        ({"oslo": (30, 9), "rome": (0, 30)}, False),
        ({"oslo": (30, 0), "rome": (0, 30)}, False),
        ({"oslo": (30, 30)}, False),
        ({"oslo": (30, 10), "rome": (0, 30), "unknown": (35, 35)}, True),
        ({"oslo": (30, 10), "rome": (0, 30), "unknown": (35, 36)}, False),
        ({"1": (30, 10), "2": (0, 30)}, False),
    ],
    ids=["two values, one of two classes", "one value", "9 images", "a class each", "a single value",
         "half have a value", "fewer have one", "numbers"],
)  # fmt: skip
def test_the_groups_of_a_column_decide_only_if_it_divides_a_class(
    tmp_path: Path, counts: dict[str, Any], decides: bool
) -> None:
    opened = counted(tmp_path, split="test", **counts)
    groups = column_groups(opened, opened.metadata["site"])
    assert (groups is not None) == decides
    in_training = counted(tmp_path / "train", **counts)
    assert column_groups(in_training, in_training.metadata["site"]) is None
    if groups is not None:
        sizes = np.bincount(groups[groups >= 0], minlength=4)
        assert sizes.tolist() == [n for site, both in counts.items() if site != "unknown" for n in both]


@pytest.mark.parametrize(
    ("strength", "grouped", "decides"),
    [("strong", False, True), ("weak", False, False), ("strong", True, False)],
)
def test_a_strong_column_of_text_decides_beside_the_groups_of_the_data_set(
    tmp_path: Path, strength: str, grouped: bool, decides: bool
) -> None:
    labels, cells = [0] * 20 + [1] * 20, ["A", "B"] * 20
    groups = [2 * label + (cell == "B") for label, cell in zip(labels, cells, strict=True)]
    if not grouped:
        groups = labels
    opened = store(tmp_path / "ds", labels, cells, groups=groups, splits=["test"] * 40)
    finding: Any = SimpleNamespace(property="site", strength=strength)
    check: Any = SimpleNamespace(findings=[finding, SimpleNamespace(property="gone", strength="strong")])
    columns = deciding_columns(opened, check)
    assert list(columns) == (["site"] if decides else [])
    for with_groups in columns.values():
        assert with_groups.group_names == ("cat · site A", "dog · site A", "cat · site B", "dog · site B")
        assert np.bincount(with_groups.groups).tolist() == [10] * 4
        assert opened.groups.tolist() == groups
    assert deciding_columns(opened, None) == {}


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
