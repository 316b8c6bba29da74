"""The table that a predict job wrote, read a page at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.http.lists import decode_number, encode_number
from masktune.contract.base import Page
from masktune.contract.serving.prediction_table import PredictionRow
from masktune.contract.vocabulary import Decision

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

TABLE = "predictions.parquet"
_COMPARED = ["decision", "label", "predicted", "score"]


class RowFilters(NamedTuple):
    """Which rows are listed, and in which order; all that is given must hold."""

    decision: Decision | None = None
    label: str | None = None
    predicted: str | None = None
    min_score: float | None = None
    max_score: float | None = None
    sort: Literal["table", "least_sure"] = "table"


def read_page(file: Path, filters: RowFilters, *, cursor: str | None, limit: int) -> Page[PredictionRow]:
    """Return a page of the rows that pass the filters.

    It reads the four columns that are compared, one row group after the other, and of the others only the
    groups that the page's rows are in: of a million rows a page takes a tenth of a second, and the least sure
    of them a second. The cursor counts rows: a table never changes.
    """
    import pyarrow.parquet as pq  # only when needed: it takes a tenth of a second

    first = decode_number(cursor) or 0
    with pq.ParquetFile(file, memory_map=True) as table:
        places = _places(table, filters)
        rows = _rows(table, places[first : first + limit])
    more = first + limit < len(places)
    return Page(data=rows, next_cursor=encode_number(first + limit) if more else None)


def _places(table: pq.ParquetFile, filters: RowFilters) -> NDArray[np.int64]:
    """Return the places in the table of the rows that pass the filters, in the order asked for."""
    passes, sureness = [], []
    for number in range(table.num_row_groups):
        group = table.read_row_group(number, _COMPARED)
        passes.append(_passes(group, filters))
        sureness.append(_sureness(group))
    places = np.flatnonzero(np.concatenate(passes))
    if filters.sort == "table":
        return places
    return places[np.argsort(np.concatenate(sureness)[places], kind="stable")]


def _passes(group: pa.Table, filters: RowFilters) -> NDArray[np.bool_]:
    """Return (N,), true where all filters hold."""
    import pyarrow.compute as pc

    keep = np.ones(len(group), bool)
    for name in ("decision", "label", "predicted"):
        if (text := getattr(filters, name)) is not None:
            keep &= pc.equal(group[name], text).fill_null(False).to_numpy()
    scores = group["score"].to_numpy()  # NaN, which passes no bound, where there is none
    if filters.min_score is not None:
        keep &= scores >= filters.min_score
    if filters.max_score is not None:
        keep &= scores <= filters.max_score
    return keep


def _sureness(group: pa.Table) -> NDArray[np.float64]:
    """Return (N,), by which rows are sorted as in a table with the least sure first: those whose score is not
    finite are first, unreadable files last."""
    import pyarrow.compute as pc

    scores = group["score"].to_numpy()
    unreadable = pc.equal(group["decision"], Decision.UNREADABLE).to_numpy()
    return np.where(unreadable, np.inf, np.where(np.isnan(scores), -np.inf, scores))


def _rows(table: pq.ParquetFile, places: NDArray[np.int64]) -> list[PredictionRow]:
    """Return these rows, in this order."""
    columns = [name for name in PredictionRow.model_fields if name in table.schema_arrow.names]
    sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    group_of = np.searchsorted(starts, places, side="right") - 1
    rows: dict[int, PredictionRow] = {}
    for group in np.unique(group_of).tolist():
        inside = places[group_of == group]
        cells = table.read_row_group(group, columns).take(inside - starts[group]).to_pylist()
        rows |= {place: PredictionRow(**row) for place, row in zip(inside.tolist(), cells, strict=True)}
    return [rows[place] for place in places.tolist()]
