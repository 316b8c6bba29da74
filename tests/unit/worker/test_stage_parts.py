"""The small decisions inside of stages."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worker.report.gallery import class_balanced
from worker.report.saliency import evenly
from worker.report.tables import open_table
from worker.stages.import_ import below

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


def test_the_gallery_is_balanced_over_classes() -> None:
    labels = np.array([0, 0, 0, 1, 0, 2, 1])
    assert class_balanced([0, 1, 2, 3, 4, 5, 6], labels) == [0, 3, 5, 1, 6, 2, 4]
    assert class_balanced([4, 2, 1], labels) == [4, 2, 1]
    assert class_balanced([], labels) == []


@pytest.mark.parametrize(("rows", "count", "kept"), [(5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (1, 1, [0])])
def test_a_sample_of_rows_is_evenly_spaced(rows: int, count: int, kept: list[int]) -> None:
    assert evenly(np.arange(rows) + 7, count).tolist() == [7 + place for place in kept]


@pytest.mark.parametrize(
    ("address", "prefix", "allowed"),
    [
        ("file:///data/birds", "file:///data/", True),
        ("file:///data/birds", "file:///data", True),
        ("file:///data-private/birds", "file:///data", False),
        ("file:///data/../etc", "file:///data", False),
        ("file:///data", "s3://data", False),
        ("s3://bucket/set/a.zip", "s3://bucket/set/", True),
        ("s3://bucket/settings", "s3://bucket/set", False),
        ("s3://bucket/set/../other", "s3://bucket/set", False),
    ],
)
def test_addresses_below_a_prefix(address: str, prefix: str, allowed: bool) -> None:
    assert below(address, prefix) is allowed


def test_a_link_out_of_the_allowed_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "out")
    assert not below(f"file://{tmp_path}/in/link", f"file://{tmp_path}/in")


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
