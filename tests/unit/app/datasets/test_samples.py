"""Samples: the media type by the first bytes, the filters of the list, and the list as a file."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.datasets.inferred import InferredSamples, PatternFilters
from app.datasets.samples import SampleFilters, listing, media_type, table
from core.errors import InvalidInput
from models.data.layout import DatasetInfo
from models.data.store import Store
from tests.support.arrays import Arrays, write_arrays


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Six images of two classes with subjects, a column of text and one of numbers."""
    splits = ["train", "train", "train", "val", "calibration", "test"]
    arrays = Arrays(np.zeros((6, 8, 8, 3), np.uint8), np.arange(6) % 2, splits)
    write_arrays(
        tmp_path / "ds",
        arrays,
        DatasetInfo("pets", "csv", ("cat", "dog")),
        subjects=["p1", "p1", "p2", "p2", None, "p1"],
        metadata={
            "site": ["Ulm", "Bern", "Ulm", "", "Ulm", "Ulm"],
            "age": ["63", "", "63.0", "7", "63", "8"],
        },
    )
    return Store.open(tmp_path / "ds")


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"subject": "p1"}, [0, 1, 5]),
        ({"subject": "p1", "split": "train"}, [0, 1]),
        ({"metadata": {"site": "Ulm"}}, [0, 2, 4, 5]),
        ({"metadata": {"site": "Ulm", "age": "63"}}, [0, 2, 4]),
        ({"metadata": {"age": ""}}, [1]),
        ({"metadata": {"site": "ulm"}}, []),
        ({"q": "ULM", "label": "dog"}, [5]),
        ({"q": "p2"}, [2, 3]),
        ({"q": ""}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_all_filters_must_hold(store: Store, filters: dict[str, Any], rows: list[int]) -> None:
    page = listing(store, SampleFilters(**filters), cursor=None, limit=10)
    assert ([sample.id for sample in page.data], page.next_cursor) == (rows, None)


def test_filters_hold_on_every_page(store: Store) -> None:
    filters = SampleFilters(metadata={"site": "Ulm"})
    first = listing(store, filters, cursor=None, limit=3)
    rest = listing(store, filters, cursor=first.next_cursor, limit=3)
    assert [sample.id for sample in (*first.data, *rest.data)] == [0, 2, 4, 5]
    assert rest.next_cursor is None


@pytest.mark.parametrize(
    ("filters", "pointer", "sentence"),
    [
        ({"metadata": {"hospital": "x"}}, "?metadata.hospital", "site, age"),
        ({"metadata": {"age": "old"}}, "?metadata.age", "holds numbers"),
        ({"subject": "p3"}, "?subject", "p1, p2"),
    ],
)
def test_a_filter_that_can_match_nothing_says_what_could(
    store: Store, filters: dict[str, Any], pointer: str, sentence: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        listing(store, SampleFilters(**filters), cursor=None, limit=10)
    assert caught.value.errors[0].pointer == pointer
    assert sentence in caught.value.errors[0].detail


# --- what a job has inferred

CAT, DOG, UNKNOWN = 0, 1, -1
INFERRED = InferredSamples(
    "job_1",
    np.array([CAT, CAT, DOG, DOG, UNKNOWN, CAT]),  # the labels are cat, dog, cat, dog, cat, dog
    np.array([0.0, 0.3, 0.9, 0.0, 0.0, 0.5]),
)


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({"pattern": "cat"}, [0, 1, 5]),
        ({"lacks_pattern": True}, [1, 2, 5]),
        ({"lacks_pattern": False}, [0, 3]),
        ({"label_looks_wrong": True}, [2]),
        ({"label_looks_wrong": False, "lacks_pattern": True}, [1, 5]),
        ({}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_samples_are_filtered_by_what_a_job_inferred(
    store: Store, filters: dict[str, Any], rows: list[int]
) -> None:
    wanted = SampleFilters(patterns=PatternFilters(**filters))
    page = listing(store, wanted, cursor=None, limit=10, inferred=INFERRED)
    assert [sample.id for sample in page.data] == rows
    assert all(sample.inferred is not None for sample in page.data)


def test_each_sample_has_what_was_inferred_of_it_and_nothing_where_that_is_not_known(store: Store) -> None:
    page = listing(store, SampleFilters(), cursor=None, limit=10, inferred=INFERRED)
    guesses = [sample.inferred for sample in page.data if sample.inferred]
    assert [guess.pattern for guess in guesses] == ["cat", "cat", "dog", "dog", None, "cat"]
    assert [guess.lacks_pattern for guess in guesses] == [False, True, True, False, None, True]
    assert [guess.label_looks_wrong for guess in guesses] == [False, False, True, False, False, False]


@pytest.mark.parametrize(
    ("filters", "inferred", "pointer"),
    [
        ({"pattern": "cow"}, INFERRED, "?pattern"),
        ({"lacks_pattern": False}, None, "?lacks_pattern"),
        ({"label_looks_wrong": True}, None, "?label_looks_wrong"),
    ],
)
def test_a_filter_by_patterns_needs_a_class_and_the_job_that_inferred_them(
    store: Store, filters: dict[str, Any], inferred: InferredSamples | None, pointer: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        listing(
            store,
            SampleFilters(patterns=PatternFilters(**filters)),
            cursor=None,
            limit=10,
            inferred=inferred,
        )
    assert caught.value.errors[0].pointer == pointer


def read_table(
    store: Store, filters: SampleFilters, inferred: InferredSamples | None
) -> list[dict[str, str]]:
    text = b"".join(table(store, filters, inferred)).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_list_as_a_file_has_the_samples_that_pass_with_what_was_inferred(store: Store) -> None:
    filters = SampleFilters(patterns=PatternFilters(lacks_pattern=True), label="dog")
    rows = read_table(store, filters, INFERRED)
    assert [row["sample"] for row in rows] == ["1", "5"]
    assert [(row["label"], row["split"], row["subject"], row["meta:site"]) for row in rows] == [
        ("dog", "train", "p1", "Bern"),
        ("dog", "test", "p1", "Ulm"),
    ]
    assert {(row["inferred_by"], row["inferred_pattern"]) for row in rows} == {("job_1", "cat")}
    assert [row["inferred_label_doubt"] for row in rows] == ["0.3", "0.5"]
    (unknown,) = read_table(store, SampleFilters(split="calibration"), INFERRED)
    assert (unknown["inferred_pattern"], unknown["inferred_lacks_pattern"]) == ("", "")


def test_a_file_without_a_job_or_a_sample_has_its_other_columns(store: Store) -> None:
    assert not any(name.startswith("inferred") for name in read_table(store, SampleFilters(), None)[0])
    header = b"".join(table(store, SampleFilters(q="nowhere"), None))
    assert header == b"path,label,split,subject,meta:site,meta:age,sample\r\n"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\nrest", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"<svg onload=alert(1)>", "application/octet-stream"),
        (b"<html>", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_the_content_decides_the_media_type(data: bytes, kind: str) -> None:
    assert media_type(data) == kind
