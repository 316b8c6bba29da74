"""Tables written batch by batch: Parquet, or CSV for users without a Parquet library."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_GROUP_ROWS = 8192
"""Minimum number of rows in a Parquet row group, except the last."""


class TableWriter(Protocol):
    """A context manager to which batches of columns are written."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows: for each column of the schema a sequence, or None if all its cells are empty."""
        ...


def open_writer(path: Path, schema: pa.Schema, classes: Sequence[str]) -> TableWriter:
    """A writer for the format that the file's suffix names: `.parquet` or `.csv`."""
    return _WRITERS[path.suffix](path, schema, classes)


class _Parquet:
    def __init__(self, path: Path, schema: pa.Schema, classes: Sequence[str]) -> None:
        self._path, self._schema = path, schema
        self._waiting: list[pa.RecordBatch] = []

    def __enter__(self) -> Self:
        self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def write(self, columns: Mapping[str, Any]) -> None:
        count = len(columns[self._schema.names[0]])
        arrays = [_arrow(columns.get(field.name), field.type, count) for field in self._schema]
        self._waiting.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        if sum(batch.num_rows for batch in self._waiting) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting))
            self._waiting = []


def _arrow(values: Any, type: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, type)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pa.array(list(values), type)
    return pa.array(values, type)


class _Csv:
    def __init__(self, path: Path, schema: pa.Schema, classes: Sequence[str]) -> None:
        self._path, self._names, self._classes = path, schema.names, classes

    def __enter__(self) -> Self:
        self._file = self._path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow([head for name in self._names for head in self._heads(name)])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, columns: Mapping[str, Any]) -> None:
        count = len(columns[self._names[0]])
        cells = [self._cells(name, columns.get(name), count) for name in self._names]
        self._writer.writerows(list(chain.from_iterable(row)) for row in zip(*cells, strict=True))

    def _heads(self, name: str) -> list[str]:
        return [f"p:{label}" for label in self._classes] if name == "probabilities" else [name]

    def _cells(self, name: str, values: Any, count: int) -> list[list[Any]]:
        """The cells of one column, row by row; `probabilities` has one cell per class in each row."""
        if values is None:
            return [[""]] * count
        rows = values.tolist() if isinstance(values, np.ndarray) else values
        if name == "probabilities":
            return list(rows)
        if isinstance(values, np.ndarray) and values.ndim == 2:
            return [[" ".join(map(repr, row))] for row in rows]
        return [["" if value is None else value] for value in rows]


_WRITERS: dict[str, Callable[[Path, pa.Schema, Sequence[str]], TableWriter]] = {
    ".parquet": _Parquet,
    ".csv": _Csv,
}
