"""Tables of predictions: parts of them as Arrow files, and whole ones as Parquet, or as CSV for users without
a Parquet library."""

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
import pyarrow.feather
import pyarrow.parquet as pq
from numpy.typing import NDArray

_GROUP_ROWS = 8192
"""Minimum number of rows in a Parquet row group, except the last."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")

Write = Callable[[pa.Table], None]
"""Appends the rows of a table of the schema."""


def record_batch(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.RecordBatch:
    """A batch of these columns: a sequence, an array (B,) or (B, n), or None if all cells are empty."""
    count = len(columns[schema.names[0]])
    arrays = [_arrow(columns.get(field.name), field.type, count) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _arrow(values: Any, type: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, type)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]).cast(type)
    return pa.array(values, type)


# --- parts ----------------------------------------------------------------------------------------------


def write_part(path: Path, table: pa.Table) -> None:
    """Write a file that `read_part` maps."""
    pa.feather.write_feather(table, str(path), compression="uncompressed")


def read_part(path: Path) -> pa.Table:
    """The table, mapped into memory; its file is closed, so that any number may be open."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def least_sure_first(parts: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """The rows of all parts by `score`, the lowest first, rows without one before them; equal ones as they
    are. Of mapped parts, only the scores and some thousand rows are in memory at a time."""
    scores = np.concatenate([part["score"].to_numpy(zero_copy_only=False) for part in parts])
    order = np.argsort(np.where(np.isnan(scores), -np.inf, scores), kind="stable")
    starts = np.cumsum([0, *map(len, parts)])
    for first in range(0, len(order), _GROUP_ROWS):
        yield _gathered(parts, starts, order[first : first + _GROUP_ROWS])


def _gathered(parts: Sequence[pa.Table], starts: NDArray[np.int64], rows: NDArray[np.int64]) -> pa.Table:
    """These rows of all parts, in this order; each part begins at one of `starts`."""
    part_of = np.searchsorted(starts, rows, side="right") - 1
    by_part = np.argsort(part_of, kind="stable")
    taken = [parts[part].take(rows[part_of == part] - starts[part]) for part in np.unique(part_of)]
    return pa.concat_tables(taken).take(np.argsort(by_part))


# --- whole tables -----------------------------------------------------------------------------------------


def open_table(path: Path, schema: pa.Schema, classes: Sequence[str]) -> AbstractContextManager[Write]:
    """Open a table in the format that the file's suffix names, `.parquet` or `.csv`."""
    return _parquet(path, schema) if path.suffix == ".parquet" else _csv(path, schema.names, classes)


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    tables: list[pa.Table] = []

    def write(table: pa.Table) -> None:
        tables.append(table)
        if sum(map(len, tables)) >= _GROUP_ROWS:
            flush()

    def flush() -> None:
        writer.write_table(pa.concat_tables(tables))
        tables.clear()

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield write
        if tables:
            flush()


@contextmanager
def _csv(path: Path, names: Sequence[str], classes: Sequence[str]) -> Iterator[Write]:
    """`probabilities` has one column per class."""

    def write(table: pa.Table) -> None:
        columns = [[_cells(name, cell, len(classes)) for cell in table[name].to_pylist()] for name in names]
        writer.writerows(list(chain.from_iterable(row)) for row in zip(*columns, strict=True))

    heads = {"probabilities": [f"p:{label}" for label in classes]}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([head for name in names for head in heads.get(name, [name])])
        yield write


def _cells(name: str, cell: Any, classes: int) -> list[Any]:
    """What stands in the file for one cell: for `probabilities` one of each class."""
    if name == "probabilities":
        return [""] * classes if cell is None else cell
    if cell is None:
        return [""]
    if name == "candidates":
        pairs = {candidate["label"]: round(candidate["probability"], 4) for candidate in cell}
        return [json.dumps(pairs, ensure_ascii=False)]
    if name == "labels":
        return [json.dumps(cell, ensure_ascii=False)]
    if isinstance(cell, list):
        return [" ".join(map(repr, cell))]
    return [_inert(cell)]


def _inert(cell: Any) -> Any:
    """A text that a spreadsheet would take for a formula, behind an apostrophe; anything else as it is."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell
