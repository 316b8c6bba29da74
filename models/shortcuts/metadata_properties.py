"""Columns of metadata as properties: the hospital, the scanner or the age may tell a class as colours do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.data.columns import MetadataColumn
from models.data.store import Store
from models.shortcuts.properties import METADATA, Property, PropertyTable
from models.types import Floats32, Labels

MAX_COLUMNS = 50  # each costs as much as a simple property of the image
MAX_VALUES = 50  # of a column of text
MIN_PER_VALUE = 5  # judged images; rarer values of a column of text count as one


@dataclass(frozen=True)
class MetadataProperties:
    """One property per column that can tell anything, `values` (M, D) of all samples of a store.

    `notes` say in a sentence which columns were left out, and why.
    """

    properties: tuple[Property, ...]
    values: Floats32
    notes: tuple[str, ...]

    def beside(self, table: PropertyTable) -> PropertyTable:
        """The table with these properties after its own."""
        values = np.concatenate([table.values, self.values[table.rows]], 1)
        return PropertyTable(table.rows, table.properties + self.properties, values, self.notes)


def metadata_properties(store: Store, rows: Labels) -> MetadataProperties:
    """The columns of the store; the judged `rows` (N,) decide by their values alone, never by their labels.

    Values of text are categories, the rare ones together one; numbers are ranked, an empty cell below all.
    """
    columns = list(store.metadata.values())
    properties, values, notes = list[Property](), list[Floats32](), list[str]()
    for column in columns[:MAX_COLUMNS]:
        numbers, categories = _categories(column, rows) if column.kind == "text" else (_ranks(column), 0)
        if len(np.unique(numbers[rows])) > 1:
            phrase = f"the metadata column {column.name}"
            properties.append(Property(column.name, METADATA, phrase, (column.kind,), categories))
            values.append(numbers)
        else:
            notes.append(f"The metadata column {column.name} was left out: {_nothing_to_tell(column, rows)}.")
    if len(columns) > MAX_COLUMNS:
        notes.append(f"Only the first {MAX_COLUMNS} of {len(columns)} metadata columns were judged.")
    stacked = np.stack(values, 1) if values else np.zeros((len(store), 0), np.float32)
    return MetadataProperties(tuple(properties), stacked, tuple(notes))


def _categories(column: MetadataColumn, rows: Labels) -> tuple[Floats32, int]:
    """(M,) numbers of the frequent texts, from the most frequent, and how many numbers there are: all other
    texts have the last one. An empty cell is a text too."""
    counts = np.bincount(column.codes[rows] + 1, minlength=len(column.texts) + 1)
    most = np.argsort(-counts, kind="stable")[:MAX_VALUES]
    frequent = most[counts[most] >= MIN_PER_VALUE]
    numbers = np.full(len(counts), len(frequent), np.float32)
    numbers[frequent] = np.arange(len(frequent))
    return np.asarray(numbers[column.codes + 1]), len(frequent) + 1


def _ranks(column: MetadataColumn) -> Floats32:
    """(M,) the rank of each sample's number, −1 for an empty cell. Ranks are exact where float32 is not."""
    stated = ~np.isnan(column.numbers)
    ranks = np.full(len(stated), -1, np.float32)
    ranks[stated] = np.unique(column.numbers[stated], return_inverse=True)[1]
    return ranks


def _nothing_to_tell(column: MetadataColumn, rows: Labels) -> str:
    cells = column.codes if column.kind == "text" else _ranks(column)
    if len(np.unique(cells[rows])) == 1:
        return (
            "all judged images have the same value" if cells[rows[0]] >= 0 else "no judged image has a value"
        )
    return f"each of its values is that of fewer than {MIN_PER_VALUE} judged images"
