"""Samples: the media type by the first bytes, and the filters of the list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.datasets.samples import SampleFilters, listing, media_type
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
