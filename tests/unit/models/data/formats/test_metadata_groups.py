"""A column of metadata as groups: class × value."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.data.formats import DatasetFormat, FormatOptions, read
from models.data.formats.manifest import Entry, FormatError, Manifest
from models.data.formats.owner_options import grouped_by_metadata
from models.data.report import ColumnReading
from tests.unit.models.data.conftest import MakeImage, MakeTree


def manifest(*cells: str, numbers: str = "7") -> Manifest:
    """Samples of two classes by turns, with a scanner each."""
    return Manifest(
        root=Path(),
        format=DatasetFormat.CSV,
        entries=tuple(
            Entry(f"{number}.png", number % 2, group=0, metadata=(numbers, cell))
            for number, cell in enumerate(cells)
        ),
        classes=("benign", "malignant"),
        group_names=("old",),
        metadata_names=("age", "scanner"),
        columns=(ColumnReading("place", "group"), ColumnReading("meta:scanner", "metadata")),
    )


def test_groups_are_class_by_value_in_natural_order() -> None:
    grouped = grouped_by_metadata(manifest("X 10", "X 2", "X 2", "X 10", "X 10", "X 10"), "meta:scanner")
    assert grouped.group_names == (
        "benign · scanner X 2",
        "benign · scanner X 10",
        "malignant · scanner X 2",
        "malignant · scanner X 10",
    )
    assert [entry.group for entry in grouped.entries] == [1, 2, 0, 3, 1, 3]


def test_an_empty_cell_has_no_group_and_a_pair_without_a_sample_no_name() -> None:
    grouped = grouped_by_metadata(manifest("A", "", "A", "B"), "meta:scanner")
    assert grouped.group_names == ("benign · scanner A", "malignant · scanner B")
    assert [entry.group for entry in grouped.entries] == [0, -1, 0, 1]


def test_a_column_of_groups_beside_it_is_said_to_be_ignored() -> None:
    grouped = grouped_by_metadata(manifest("A", "B"), "meta:scanner")
    assert grouped.columns == (
        ColumnReading("place", "ignored", "the groups are class × meta:scanner"),
        ColumnReading("meta:scanner", "metadata"),
    )


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ("meta:site", "there is no column 'meta:site' to make groups of: use one of meta:age, meta:scanner"),
        ("scanner", "there is no column 'scanner' to make groups of: use one of meta:age, meta:scanner"),
        ("meta:age", "meta:age cannot be the groups: its cells are numbers: write them as text"),
    ],
)
def test_a_column_that_cannot_be_groups_is_refused_with_the_reason(group: str, reason: str) -> None:
    with pytest.raises(FormatError) as raised:
        grouped_by_metadata(manifest("A", "B"), group)
    assert str(raised.value).startswith(reason)


def test_more_than_a_hundred_values_and_none_are_no_groups() -> None:
    names = [f"scan {number}" for number in range(101)]
    assert len(grouped_by_metadata(manifest(*names[:100]), "meta:scanner").group_names) == 100
    with pytest.raises(FormatError, match="it has 101 different values, more than 100"):
        grouped_by_metadata(manifest(*names), "meta:scanner")
    with pytest.raises(FormatError, match="meta:scanner cannot be the groups: all its cells are empty"):
        grouped_by_metadata(manifest("", ""), "meta:scanner")


def test_a_layout_without_metadata_has_none_to_make_groups_of(
    make_image: MakeImage, make_tree: MakeTree
) -> None:
    root = make_tree({"cat/1.png": make_image(1), "dog/2.png": make_image(2)})
    with pytest.raises(FormatError, match="there is no column of metadata"):
        read(root, options=FormatOptions(group="meta:scanner"))
