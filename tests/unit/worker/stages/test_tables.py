"""Predictions as Parquet and as CSV, and in parts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worker.stages.tables import least_sure_first, open_table, read_part, record_batch, write_part

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("predicted", pa.string()),
        ("candidates", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))),
        ("probabilities", pa.list_(pa.float32(), 2)),
        ("agreement", pa.bool_()),
        ("saliency", pa.list_(pa.float32())),
    ]
)
COLUMNS = {
    "row": np.array([4, 7]),
    "predicted": ["a", None],
    "candidates": [[{"label": "é", "probability": 0.75}, {"label": "x", "probability": 0.25}], []],
    "probabilities": np.array([[0.25, 0.75], [0.5, 0.5]], np.float32),
    "agreement": None,
    "saliency": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
}
TABLE = pa.Table.from_batches([record_batch(SCHEMA, COLUMNS)])
UNREADABLE = pa.Table.from_pylist([{"predicted": "=1"}], schema=SCHEMA)


def test_parquet(tmp_path: Path) -> None:
    with open_table(tmp_path / "t.parquet", SCHEMA, ["x", "y"]) as write:
        write(TABLE)
        write(UNREADABLE)
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist()[1] == {
        "row": 7,
        "predicted": None,
        "candidates": [],
        "probabilities": [0.5, 0.5],
        "agreement": None,
        "saliency": [3.0, 4.0],
    }
    assert table.to_pylist()[2] == dict.fromkeys(SCHEMA.names) | {"predicted": "=1"}


def test_csv(tmp_path: Path) -> None:
    with open_table(tmp_path / "t.csv", SCHEMA, ["x", "y"]) as write:
        write(TABLE)
        write(UNREADABLE)
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "row": "4",
        "predicted": "a",
        "candidates": '{"é": 0.75, "x": 0.25}',
        "p:x": "0.25",
        "p:y": "0.75",
        "agreement": "",
        "saliency": "1.0 2.0",
    }
    assert rows[1]["predicted"] == ""
    assert rows[2] == dict.fromkeys(rows[2], "") | {"predicted": "'=1"}, "no formula"


def test_parts_are_sorted_by_score_some_rows_at_a_time(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).permutation(20_000).astype(float)
    scores[[3, 15_000]] = np.nan
    scores[[5, 16_000]] = -1.0
    for number in range(20):
        rows = np.arange(1000 * number, 1000 * (number + 1))
        part = pa.table({"row": rows, "score": pa.array(scores[rows], from_pandas=True)})
        write_part(tmp_path / f"{number:02}", part)
    parts = [read_part(path) for path in sorted(tmp_path.iterdir())]
    tables = list(least_sure_first(parts))
    assert max(map(len, tables)) < len(scores) / 2
    ordered = pa.concat_tables(tables)
    assert ordered["row"].to_pylist()[:4] == [3, 15_000, 5, 16_000]
    assert ordered["score"].to_pylist()[2:] == np.sort(scores)[:-2].tolist()
    assert sorted(ordered["row"].to_pylist()) == list(range(len(scores)))
