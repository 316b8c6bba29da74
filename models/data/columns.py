"""The optional columns of a packed store: the subject of each sample, and any number of columns of metadata.

They lie in a file of their own, `columns.arrow`, which is not written where a data set has none. This
module does not import torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

COLUMNS_FILE = "columns.arrow"
_SUBJECT = "subject"
_METADATA = "meta:"
_MOST_NAMED, _LONGEST_NAMED = 20, 200
_DIGITS = 15  # that a float64 keeps of any whole number
"""Texts of a column that its summary names, and the characters of the longest of them."""


class MetadataColumn(NamedTuple):
    """A column of N samples.
    One of numbers has `numbers` (N,), NaN where the cell is empty; one of text has `codes` (N,), −1 where it
    is empty, of the distinct `texts`.
    """

    name: str
    kind: Literal["number", "text"]
    numbers: NDArray[np.float64]
    codes: NDArray[np.int64]
    texts: tuple[str, ...]

    def value(self, row: int) -> float | str | None:
        """The cell of a row, None where it is empty."""
        if self.kind == "number":
            number = float(self.numbers[row])
            return None if math.isnan(number) else number
        code = int(self.codes[row])
        return None if code < 0 else self.texts[code]

    def cells(self, rows: slice | NDArray[np.int64]) -> list[str]:
        """The cells of these rows as they are written to a table, empty where they are missing: a number in
        the fewest digits that are read as the same one."""
        if self.kind == "number":
            numbers = self.numbers[rows].tolist()
            return ["" if math.isnan(number) else repr(number).removesuffix(".0") for number in numbers]
        return [self.texts[code] if code >= 0 else "" for code in self.codes[rows].tolist()]

    def equal_to(self, cell: str) -> NDArray[np.bool_]:
        """(N,), true where the cell is this text, or a number of the same value; "" is an empty cell.

        ValueError for what is no finite number, in a column of numbers.
        """
        if self.kind == "number":
            if not cell:
                return np.isnan(self.numbers)
            number = float(cell)
            if not math.isfinite(number):
                raise ValueError(f"{cell!r} is not a finite number")
            return np.equal(self.numbers, number)
        if not cell:
            return self.codes < 0
        return np.equal(self.codes, self.texts.index(cell) if cell in self.texts else len(self.texts))

    def summary(self) -> dict[str, Any]:
        """What a column holds, as plain JSON values: `distinct` values, `missing` cells, and the `low` and
        `high` of numbers, or the texts that are `most_frequent`, if they are short enough to be named."""
        described: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.kind == "number":
            numbers = self.numbers[~np.isnan(self.numbers)]
            return described | {
                "distinct": len(np.unique(numbers)),
                "missing": len(self.numbers) - len(numbers),
                "low": float(numbers.min()),
                "high": float(numbers.max()),
            }
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.texts))
        short = [code for code, text in enumerate(self.texts) if len(text) <= _LONGEST_NAMED]
        order = sorted(short, key=lambda code: -counts[code])[:_MOST_NAMED]
        return described | {
            "distinct": len(self.texts),
            "missing": int((self.codes < 0).sum()),
            "most_frequent": [{"text": self.texts[code], "n": int(counts[code])} for code in order],
        }


@dataclass(frozen=True)
class Columns:
    """Subjects and metadata of N samples. `subjects` (N,) are numbers in `subject_names`, −1 for none."""

    subjects: NDArray[np.int64]
    subject_names: tuple[str, ...] = ()
    metadata: Mapping[str, MetadataColumn] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path, count: int) -> Self:
        """From a store of `count` samples. Raises OSError, or ValueError where the file is damaged."""
        path = directory / COLUMNS_FILE
        if not path.exists():
            return cls(np.full(count, -1))
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        if table.num_rows != count:
            raise ValueError(f"{COLUMNS_FILE} has {table.num_rows} rows, not {count}")
        subjects, names = np.full(count, -1), tuple[str, ...]()
        metadata: dict[str, MetadataColumn] = {}
        for field_, column in zip(table.schema, table.columns, strict=True):
            if field_.name == _SUBJECT:
                subjects, names = _decoded(column)
            else:
                name = field_.name.removeprefix(_METADATA)
                metadata[name] = _metadata_column(name, column)
        return cls(subjects, names, metadata)

    def digest(self) -> bytes:
        """SHA-256 of the subjects and the metadata of all samples in row order; empty without any."""
        if not self.subject_names and not self.metadata:
            return b""
        texts = [self.subject_names[code] if code >= 0 else None for code in self.subjects.tolist()]
        cells = {
            name: [column.value(row) for row in range(len(texts))] for name, column in self.metadata.items()
        }
        return hashlib.sha256(json.dumps([texts, cells], ensure_ascii=False).encode()).digest()


def write_columns(
    directory: Path, subjects: Sequence[str | None], metadata: Mapping[str, Sequence[str]]
) -> None:
    """Write the file, if there is anything to write: a subject or None per sample, and columns of cells.

    A column is one of numbers if every cell that is not empty is a finite number, else one of text. White
    space around a cell does not count, as in tables, so that a download is read as what it was.
    """
    columns = {}
    subjects = [(subject or "").strip() or None for subject in subjects]
    metadata = {name: [cell.strip() for cell in cells] for name, cells in metadata.items()}
    if any(subject is not None for subject in subjects):
        columns[_SUBJECT] = pa.array(subjects, pa.string()).dictionary_encode()
    for name, cells in metadata.items():
        numbers = as_numbers(cells)
        columns[_METADATA + name] = (
            pa.array([cell or None for cell in cells], pa.string()).dictionary_encode()
            if numbers is None
            else pa.array(numbers, pa.float64())
        )
    if columns:
        table = pa.table(columns)
        with (
            pa.OSFile(str(directory / COLUMNS_FILE), "wb") as file,
            pa.ipc.new_file(file, table.schema) as arrow,
        ):
            arrow.write_table(table)


def as_numbers(cells: Sequence[str]) -> list[float | None] | None:
    """The cells as numbers, None for empty ones; None in all if one is no finite number or all are empty.

    Codes are no numbers: 007, 2020_01, and whole numbers of more than 15 digits.
    """
    if any(map(_is_code, cells)):
        return None
    try:
        numbers = [float(cell) if cell else None for cell in cells]
    except ValueError:
        return None
    stated = [number for number in numbers if number is not None]
    return numbers if stated and all(map(math.isfinite, stated)) else None


def _is_code(cell: str) -> bool:
    digits = cell.lstrip("+-")
    return "_" in cell or (digits.isdecimal() and (len(digits) > _DIGITS or digits != "0" == digits[0]))


def _metadata_column(name: str, column: pa.ChunkedArray) -> MetadataColumn:
    count = len(column)
    if pa.types.is_floating(column.type):
        numbers = pc.fill_null(column, math.nan).to_numpy().astype(np.float64)
        return MetadataColumn(name, "number", numbers, np.full(count, -1), ())
    codes, texts = _decoded(column)
    return MetadataColumn(name, "text", np.full(count, math.nan), codes, texts)


def _decoded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The codes of a dictionary column, −1 for null, and their texts."""
    array = column.combine_chunks()
    codes = pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, tuple(array.dictionary.to_pylist())
