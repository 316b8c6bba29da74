"""Pages of a predict job's table: filtered, sorted, each row once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.jobs.prediction_table import RowFilters, read_page
from masktune.contract.vocabulary import Decision

ROWS = [
    {
        "row": number,
        "path": f"{number}.png",
        "label": None if number == 0 else "ab"[number % 2],
        "predicted": "a" if number % 4 else None,
        "decision": "answer" if number % 4 else "abstain",
        "score": None if number == 8 else (37 * number % 50) / 50,
        "candidates": [{"label": "a", "probability": 0.5}],
        "saliency": [0.0],
    }
    for number in range(50)
] + [{"path": "cut.png", "decision": "unreadable", "reason": "truncated: the file ends early"}]
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        *((name, pa.string()) for name in ("path", "label", "predicted", "decision", "reason")),
        ("score", pa.float64()),
        ("candidates", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))),
        ("saliency", pa.list_(pa.float32())),
    ]
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of several row groups."""
    file = tmp_path_factory.mktemp("table") / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS, schema=SCHEMA), file, row_group_size=7)
    return file


def _all(table: Path, filters: RowFilters, limit: int) -> list[int | None]:
    """The rows of all pages."""
    listed, cursor = list[int | None](), None
    while True:
        page = read_page(table, filters, cursor=cursor, limit=limit)
        assert len(page.data) <= limit
        listed += [row.row for row in page.data]
        if (cursor := page.next_cursor) is None:
            return listed


@pytest.mark.parametrize("limit", [1, 17, 51, 100])
def test_pages_hold_each_row_once(table: Path, limit: int) -> None:
    assert _all(table, RowFilters(), limit) == [row.get("row") for row in ROWS]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (RowFilters(decision=Decision.ABSTAIN), list(range(0, 50, 4))),
        (RowFilters(decision=Decision.UNREADABLE), [None]),
        (RowFilters(label="b", predicted="a"), list(range(1, 50, 2))),
        (RowFilters(label="c"), []),
        (RowFilters(min_score=0.96), [4, 27]),
        (RowFilters(max_score=0.0), [0]),
        (RowFilters(min_score=0.9, max_score=0.94, sort="least_sure"), [35, 31]),
    ],
)
def test_filters(table: Path, filters: RowFilters, expected: list[int | None]) -> None:
    assert _all(table, filters, 2) == expected


def test_the_least_sure_are_first_and_what_could_not_be_read_is_last(table: Path) -> None:
    listed = _all(table, RowFilters(sort="least_sure"), 10)
    assert listed[0] == 8, "its score was not finite"
    assert listed[-1] is None
    scores = [ROWS[row]["score"] for row in listed[1:-1] if row is not None]
    assert scores == sorted(scores)  # type: ignore[type-var]  # all are numbers
    assert len(set(listed)) == len(ROWS)


def test_a_row_has_what_the_table_has(table: Path) -> None:
    page = read_page(table, RowFilters(decision=Decision.UNREADABLE), cursor=None, limit=5)
    (row,) = page.data
    assert row.model_dump(exclude_none=True) == ROWS[-1]
    first = read_page(table, RowFilters(), cursor=None, limit=1).data[0]
    assert "saliency" not in first.model_dump(), "a map is asked for by itself"
    assert first.candidates is not None
    assert first.candidates[0].label == "a"
