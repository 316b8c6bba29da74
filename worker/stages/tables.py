"""Tables of predictions, written batch by batch: Parquet, or CSV for users without a Parquet library."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_GROUP_ROWS = 8192
"""Minimum number of rows in a Parquet row group, except the last."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")

Write = Callable[[Mapping[str, Any]], None]
"""Appends rows: for each column of the schema a sequence, or None if all its cells are empty."""


def open_table(path: Path, schema: pa.Schema, classes: Sequence[str]) -> AbstractContextManager[Write]:
    """Open a table in the format that the file's suffix names, `.parquet` or `.csv`."""
    return _parquet(path, schema) if path.suffix == ".parquet" else _csv(path, schema.names, classes)


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    batches: list[pa.RecordBatch] = []

    def write(columns: Mapping[str, Any]) -> None:
        count = len(columns[schema.names[0]])
        arrays = [_arrow(columns.get(field.name), field.type, count) for field in schema]
        batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
        if sum(batch.num_rows for batch in batches) >= _GROUP_ROWS:
            flush()

    def flush() -> None:
        writer.write_table(pa.Table.from_batches(batches, schema=schema))
        batches.clear()

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield write
        if batches:
            flush()


def _arrow(values: Any, type: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, type)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pa.array(list(values), type)
    return pa.array(values, type)


@contextmanager
def _csv(path: Path, names: Sequence[str], classes: Sequence[str]) -> Iterator[Write]:
    """`probabilities` has one column per class."""

    def write(columns: Mapping[str, Any]) -> None:
        count = len(columns[names[0]])
        cells = [_cells(name, columns.get(name), count) for name in names]
        writer.writerows(list(chain.from_iterable(row)) for row in zip(*cells, strict=True))

    heads = {"probabilities": [f"p:{label}" for label in classes]}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([head for name in names for head in heads.get(name, [name])])
        yield write


def _cells(name: str, values: Any, count: int) -> list[list[Any]]:
    """The cells of one column, row by row."""
    if values is None:
        return [[""]] * count
    rows = values.tolist() if isinstance(values, np.ndarray) else values
    if name == "probabilities":
        return list(rows)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return [[" ".join(map(repr, row))] for row in rows]
    if name == "labels":
        return [[json.dumps(cell, ensure_ascii=False)] for cell in rows]
    return [["" if cell is None else _inert(cell)] for cell in rows]


def _inert(cell: Any) -> Any:
    """A text that a spreadsheet would take for a formula, behind an apostrophe; anything else as it is."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell
