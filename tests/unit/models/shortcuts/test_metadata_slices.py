"""Slices by metadata: values of text, bands of numbers, and what is too small or says nothing."""

from __future__ import annotations

import numpy as np

from models.data.columns import MetadataColumn
from models.shortcuts.metadata_slices import MAX_VALUES, MetadataSlices, metadata_slices


def text(name: str, *cells: str) -> MetadataColumn:
    texts = tuple(dict.fromkeys(cell for cell in cells if cell))
    codes = np.array([texts.index(cell) if cell else -1 for cell in cells])
    return MetadataColumn(name, "text", np.full(len(cells), np.nan), codes, texts)


def number(name: str, numbers: np.ndarray) -> MetadataColumn:
    return MetadataColumn(name, "number", numbers.astype(np.float64), np.full(len(numbers), -1), ())


def sliced(*columns: MetadataColumn) -> MetadataSlices:
    return metadata_slices(columns, np.arange(len(columns[0].codes)))


def sizes(slices: MetadataSlices) -> dict[str | None, int]:
    return {part.value: int(part.inside.sum()) for part in slices.slices}


def test_a_text_has_a_slice_for_each_value_of_ten_images_and_one_of_empty_cells() -> None:
    cells = ["B"] * 10 + ["A"] * 12 + ["C"] * 9 + [""] * 11
    slices = sliced(text("scanner", *cells))
    assert [(part.column, part.value) for part in slices.slices] == [
        ("scanner", "A"),
        ("scanner", "B"),
        ("scanner", None),
    ]
    assert sizes(slices) == {"A": 12, "B": 10, None: 11}
    assert slices.slices[1].inside.tolist() == [cell == "B" for cell in cells]
    assert slices.notes == ("scanner: 3 of its 4 values.",)


def test_only_the_rows_that_are_asked_for_are_sliced() -> None:
    column = text("scanner", *["A", "B"] * 30)
    slices = metadata_slices([column], np.arange(0, 60, 2)[:20])
    assert slices.slices == ()
    assert slices.notes == ("scanner: all images have the same value.",)


def test_a_number_has_bands_between_its_quartiles() -> None:
    ages = np.repeat([20, 35, 50, 80], 10) + np.tile(np.arange(10), 4)
    numbers = np.append(ages, [np.nan] * 15)
    assert sizes(sliced(number("age", numbers))) == {
        "20 to 29": 10,
        "35 to 44": 10,
        "50 to 59": 10,
        "80 to 89": 10,
        None: 15,
    }


def test_equal_numbers_share_a_band_and_large_ones_are_not_rounded() -> None:
    numbers = np.array([1_700_000_001] * 30 + [1_700_000_002] * 12)
    assert sizes(sliced(number("taken", numbers))) == {"1700000001": 30, "1700000002": 12}


def test_of_many_values_the_most_frequent_have_slices() -> None:
    cells = [f"site {n:02}" for n in range(25) for _ in range(10 + n)]
    slices = sliced(text("site", *cells))
    assert [part.value for part in slices.slices] == [f"site {n:02}" for n in range(25 - MAX_VALUES, 25)]
    assert slices.notes == ("site: 20 of its 25 values.",)


def test_a_column_of_one_image_a_value_has_no_slice_and_it_is_said() -> None:
    slices = sliced(text("file", *[f"IMG {n}" for n in range(400)]), number("none", np.full(400, np.nan)))
    assert slices.slices == ()
    assert slices.notes == ("file: none of its 400 values has 10 images.", "none: no image has a value.")


def test_too_small_bands_of_numbers_are_not_called_values() -> None:
    slices = sliced(number("age", np.arange(24)))
    assert slices.notes == ("age: none of its 4 bands of values has 10 images.",)
