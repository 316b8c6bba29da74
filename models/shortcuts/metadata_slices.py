"""Slices of a split by its metadata: images of one scanner, or of one band of ages. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from models.data.columns import MetadataColumn
from models.types import Bools, Floats, Labels

MIN_IMAGES = 10
MAX_VALUES = 20  # of a column of text, the most frequent
MAX_COLUMNS = 50
RULE = (
    f"A slice has at least {MIN_IMAGES} images: those with one value of a column of text, of which the "
    f"{MAX_VALUES} most frequent count, or with a number between two quartiles of its column."
)
_QUARTILES = (0.25, 0.5, 0.75)


class MetadataSlice(NamedTuple):
    """The images, `inside` (N,), whose `column` has this value or lies in this band; None: is empty."""

    column: str
    value: str | None
    inside: Bools


class MetadataSlices(NamedTuple):
    """All slices, and a note on each column that has none, or not all that it could have."""

    slices: tuple[MetadataSlice, ...]
    notes: tuple[str, ...]


def metadata_slices(columns: Iterable[MetadataColumn], rows: Labels) -> MetadataSlices:
    """Slice the `rows` (N,) by `RULE`, column by column. A slice never holds all of them."""
    slices, notes = list[MetadataSlice](), list[str]()
    columns = list(columns)
    for column in columns[:MAX_COLUMNS]:
        names, numbers = _by_text(column, rows) if column.kind == "text" else _by_band(column.numbers[rows])
        sizes = np.bincount(numbers, minlength=len(names))
        frequent = np.argsort(-sizes, kind="stable")[:MAX_VALUES]
        large = [number for number in sorted(frequent.tolist()) if sizes[number] >= MIN_IMAGES]
        of = "values" if column.kind == "text" else "bands of values"
        if names == [None]:
            notes.append(f"{column.name}: no image has a value.")
        elif sizes.max() == len(rows):
            notes.append(f"{column.name}: all images have the same value.")
        elif not large:
            notes.append(f"{column.name}: none of its {len(names)} {of} has {MIN_IMAGES} images.")
        else:
            slices += [MetadataSlice(column.name, names[number], numbers == number) for number in large]
            if len(large) < len(names):
                notes.append(f"{column.name}: {len(large)} of its {len(names)} {of}.")
    if len(columns) > MAX_COLUMNS:
        notes.append(f"Only the first {MAX_COLUMNS} of {len(columns)} columns.")
    return MetadataSlices(tuple(slices), tuple(notes))


def _by_text(column: MetadataColumn, rows: Labels) -> tuple[list[str | None], Labels]:
    """The texts of these rows in alphabetical order, empty cells last, and the number (N,) of each row's."""
    present, numbers = np.unique(column.codes[rows], return_inverse=True)
    names = [None if code < 0 else column.texts[code] for code in present.tolist()]
    order = sorted(range(len(names)), key=lambda number: (names[number] is None, names[number]))
    return [names[number] for number in order], np.argsort(order)[numbers]


def _by_band(numbers: Floats) -> tuple[list[str | None], Labels]:
    """The bands between quartiles, empty cells last, and each row's band (N,). Equal numbers share one."""
    stated = ~np.isnan(numbers)
    values = numbers[stated]
    edges = np.unique(np.quantile(values, _QUARTILES, method="lower")) if len(values) else values
    bands = np.full(len(numbers), len(edges) + 1)
    bands[stated] = np.searchsorted(edges, values, side="left")
    present, bands = np.unique(bands, return_inverse=True)
    names = [
        _band_name(numbers[bands == number]) if place <= len(edges) else None
        for number, place in enumerate(present.tolist())
    ]
    return names, bands


def _band_name(numbers: Floats) -> str:
    low, high = (f"{number:.10g}" for number in (numbers.min(), numbers.max()))
    return low if low == high else f"{low} to {high}"
