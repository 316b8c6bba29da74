"""Subjects and metadata beside a packed store: read as they were written, typed by their cells."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from models.data.columns import COLUMNS_FILE, Columns, write_columns
from models.data.layout import DatasetInfo, StoreError
from models.data.store import Store
from tests.support.arrays import Arrays, write_arrays

INFO = DatasetInfo("pets", "csv", ("cat", "dog"))


def _arrays(count: int = 6) -> Arrays:
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    splits = ["train", "train", "calibration", "calibration", "calibration", "test"][:count]
    return Arrays(images, np.arange(count) % 2, splits, None)


def test_subjects_and_metadata_come_back_with_their_types(tmp_path: Path) -> None:
    write_columns(tmp_path, ["p1", None, "p1"], {"age": ["63", "", "1e1"], "site": ["Berlin", "", "Ulm"]})
    columns = Columns.read(tmp_path, 3)
    assert columns.subjects.tolist() == [0, -1, 0]
    assert columns.subject_names == ("p1",)
    age, site = columns.metadata["age"], columns.metadata["site"]
    assert (age.kind, site.kind) == ("number", "text")
    assert [age.value(row) for row in range(3)] == [63.0, None, 10.0]
    assert [site.value(row) for row in range(3)] == ["Berlin", None, "Ulm"]
    assert math.isnan(age.numbers[1])
    assert (site.codes.tolist(), site.texts) == ([0, -1, 1], ("Berlin", "Ulm"))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        *(([code, "12"], "text") for code in ("007", "-01", "2020_01", "1234567890123456")),
        *(([cell, "12"], "number") for cell in ("0", "-0", "0.5", "123456789012345")),
        *((cells, "text") for cells in (["1", "two"], ["1", "inf"], ["nan", "1"], ["", ""])),
    ],
)
def test_a_column_of_finite_numbers_is_one_and_codes_keep_every_character(
    tmp_path: Path, cells: list[str], kind: str
) -> None:
    write_columns(tmp_path, [None, None], {"ward": cells})
    ward = Columns.read(tmp_path, 2).metadata["ward"]
    assert ward.kind == kind
    expected = [float(cell) for cell in cells] if kind == "number" else [cell or None for cell in cells]
    assert [ward.value(row) for row in (0, 1)] == expected


def test_a_data_set_without_columns_has_no_file_and_its_digest_is_that_of_earlier_versions(
    tmp_path: Path,
) -> None:
    write_columns(tmp_path, [None, None], {})
    assert not (tmp_path / COLUMNS_FILE).exists()
    columns = Columns.read(tmp_path, 2)
    assert (columns.subjects.tolist(), columns.digest()) == ([-1, -1], b"")


def test_the_digest_depends_on_every_subject_and_cell(tmp_path: Path) -> None:
    digests = set()
    for index, (subjects, ages) in enumerate(
        [(["p1", "p2"], ["1", "2"]), (["p1", "p1"], ["1", "2"]), (["p1", "p2"], ["1", "3"])]
    ):
        folder = tmp_path / str(index)
        store = write_arrays(folder, _arrays(2), INFO, subjects=subjects, metadata={"age": ages})
        digests.add(store.digest)
    assert len(digests) == 3


def test_a_store_with_columns_travels_to_another_process(tmp_path: Path) -> None:
    written = write_arrays(tmp_path / "ds", _arrays(), INFO, subjects=["a", "a", "b", None, "a", "b"])
    store = pickle.loads(pickle.dumps(written))
    assert store.has_subjects
    assert [store.sample(row).subject for row in range(6)] == ["a", "a", "b", None, "a", "b"]
    assert store.image_bytes(3) == written.image_bytes(3)


def test_samples_of_one_subject_or_picture_or_linked_by_both_are_one_cluster(tmp_path: Path) -> None:
    arrays = _arrays()
    arrays.images[5] = arrays.images[3]
    store = write_arrays(tmp_path / "ds", arrays, INFO, subjects=["a", "b", "b", "c", None, "d"])
    clusters = store.clusters(np.arange(6))
    assert clusters[1] == clusters[2]
    assert clusters[3] == clusters[5]
    assert len(set(clusters.tolist())) == 4


def test_no_certificate_counts_a_subject_that_models_were_fitted_on(tmp_path: Path) -> None:
    store = write_arrays(tmp_path / "ds", _arrays(), INFO, subjects=["a", "b", "b", "c", None, "d"])
    assert store.calibration_rows().tolist() == [3, 4]


def test_one_picture_of_each_subject_counts_and_every_picture_without_one_once(tmp_path: Path) -> None:
    arrays = _arrays()
    arrays.images[1] = arrays.images[0]
    store = write_arrays(tmp_path / "ds", arrays, INFO, subjects=[None, None, "a", "a", "a", "b"])
    counted = store.independent(np.arange(6))
    assert counted[[0, 1, 5]].tolist() == [True, False, True]
    assert counted[2:5].sum() == 1
    assert (store.independent(np.arange(6)) == counted).all()  # nobody can draw again


def test_a_damaged_file_of_columns_is_a_damaged_store(tmp_path: Path) -> None:
    write_arrays(tmp_path / "ds", _arrays(), INFO, subjects=["a"] * 6)
    (tmp_path / "ds" / COLUMNS_FILE).write_bytes(b"ARROW1 and no more")
    with pytest.raises(StoreError, match=COLUMNS_FILE):
        Store.open(tmp_path / "ds")


def test_white_space_around_a_cell_does_not_count(tmp_path: Path) -> None:
    write_columns(tmp_path, [" p1", "p1 ", "  "], {"site": ["Ulm ", " Ulm", " "]})
    columns = Columns.read(tmp_path, 3)
    assert (columns.subjects.tolist(), columns.subject_names) == ([0, 0, -1], ("p1",))
    assert columns.metadata["site"].texts == ("Ulm",)


def test_cells_are_equal_by_text_or_by_the_value_of_a_number(tmp_path: Path) -> None:
    write_columns(tmp_path, [None] * 4, {"age": ["63.0", "", "10", "63"], "site": ["Ulm", "", "ulm", "Bern"]})
    age, site = Columns.read(tmp_path, 4).metadata.values()
    assert age.equal_to("6.3e1").tolist() == [True, False, False, True]
    assert age.equal_to("").tolist() == [False, True, False, False]
    assert site.equal_to("Ulm").tolist() == [True, False, False, False]
    assert site.equal_to("").tolist() == [False, True, False, False]
    assert not site.equal_to("Paris").any()


@pytest.mark.parametrize("cell", ["old", "nan", "inf"])
def test_what_is_no_finite_number_is_in_no_column_of_numbers(tmp_path: Path, cell: str) -> None:
    write_columns(tmp_path, [None], {"age": ["63"]})
    with pytest.raises(ValueError, match=cell):
        Columns.read(tmp_path, 1).metadata["age"].equal_to(cell)


def test_a_summary_says_what_a_column_holds(tmp_path: Path) -> None:
    write_columns(
        tmp_path, [None] * 5, {"age": ["9", "", "10", "9", "9"], "site": ["Ulm", "", "Bern", "Bern", ""]}
    )
    age, site = Columns.read(tmp_path, 5).metadata.values()
    assert age.summary() == {
        "name": "age",
        "kind": "number",
        "distinct": 2,
        "missing": 1,
        "low": 9.0,
        "high": 10.0,
    }
    assert site.summary() == {
        "name": "site",
        "kind": "text",
        "distinct": 2,
        "missing": 2,
        "most_frequent": [{"text": "Bern", "n": 2}, {"text": "Ulm", "n": 1}],
    }


def test_a_summary_of_many_texts_names_the_twenty_most_frequent_that_are_not_too_long(tmp_path: Path) -> None:
    cells = [f"text {n}" for n in range(40_000)] + ["twice"] * 2 + ["x" * 201] * 3
    write_columns(tmp_path, [None] * len(cells), {"note": cells})
    summary = Columns.read(tmp_path, len(cells)).metadata["note"].summary()
    assert summary["distinct"] == 40_002
    assert len(summary["most_frequent"]) == 20
    assert summary["most_frequent"][0] == {"text": "twice", "n": 2}


def test_a_search_finds_a_text_in_path_subject_and_metadata_in_any_case(tmp_path: Path) -> None:
    subjects = ["Änne", "b", None, "b", None, "a"]
    sites = ["", "Zürich", "zürich-nord", "Bern", "", "(a.c)"]
    store = write_arrays(
        tmp_path / "ds", _arrays(), INFO, subjects=subjects, metadata={"site": sites, "age": ["1"] * 6}
    )

    def rows(text: str) -> list[int]:
        return np.flatnonzero(store.containing(text)).tolist()

    assert rows("änn") == [0]
    assert rows("ZÜRICH") == [1, 2]
    assert rows("test/000005.PNG") == [5]
    assert rows("a.c") == [5]  # no pattern
    assert rows("(") == [5]
    assert rows("nowhere") == []
