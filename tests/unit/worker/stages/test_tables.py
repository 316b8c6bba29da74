"""Predictions as Parquet and as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worker.stages.tables import open_table

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("predicted", pa.string()),
        ("probabilities", pa.list_(pa.float32(), 2)),
        ("agreement", pa.bool_()),
        ("saliency", pa.list_(pa.float32())),
    ]
)
COLUMNS = {
    "row": np.array([4, 7]),
    "predicted": ["a", None],
    "probabilities": np.array([[0.25, 0.75], [0.5, 0.5]], np.float32),
    "agreement": None,
    "saliency": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
}


def test_parquet(tmp_path: Path) -> None:
    with open_table(tmp_path / "t.parquet", SCHEMA, ["x", "y"]) as write:
        write(COLUMNS)
        write(COLUMNS)
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist()[1] == {
        "row": 7,
        "predicted": None,
        "probabilities": [0.5, 0.5],
        "agreement": None,
        "saliency": [3.0, 4.0],
    }
    assert table.num_rows == 4


def test_csv(tmp_path: Path) -> None:
    with open_table(tmp_path / "t.csv", SCHEMA, ["x", "y"]) as write:
        write(COLUMNS)
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "row": "4",
        "predicted": "a",
        "p:x": "0.25",
        "p:y": "0.75",
        "agreement": "",
        "saliency": "1.0 2.0",
    }
    assert rows[1]["predicted"] == ""
