"""What an import says about subjects, and the counts of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from models.data.formats import FormatOptions
from models.data.importing.inspection import subject_notes
from models.data.report import NoteCode, ProblemCode
from models.data.splits import ALL_SPLITS, Cut, SplitRecord
from models.data.store import Store
from tests.integration.models.data.conftest import ImportFiles
from tests.unit.models.data.conftest import MakeImage


def details(
    names: Sequence[str | None],
    splits: list[str],
    *,
    labels: list[int] | None = None,
    record: SplitRecord | None = None,
) -> dict[NoteCode, str]:
    """The notes on images of the subjects of these names."""
    distinct = [name for name in dict.fromkeys(names) if name is not None]
    notes = subject_notes(
        np.array([-1 if name is None else distinct.index(name) for name in names]),
        distinct,
        labels=np.zeros(len(names), int) if labels is None else np.array(labels),
        splits=np.array([ALL_SPLITS.index(split) for split in splits]),
        record=record or SplitRecord(ALL_SPLITS),
    )
    return {note.code: note.detail for note in notes}


def test_nothing_is_said_of_whole_subjects_or_of_none() -> None:
    assert details(["a", "a", "b"], ["train", "train", "test"]) == {}
    assert details([None, None], ["train", "test"]) == {}


def test_a_subject_in_two_splits_is_named_with_what_it_spoils() -> None:
    names = ["a", "a", "b", "b", "c", "c", "d"]
    notes = details(names, ["train", "test", "train", "calibration", "train", "train", "val"])
    assert notes == {
        NoteCode.SUBJECT_IN_TWO_SPLITS: "subjects in more than one split: 2 of 4, 'a', 'b' (1 in train and "
        "calibration, 1 in train and test), so the figures of the later split are too good, though no "
        "certificate counts them: read the data set again with new splits (--new-splits), which divide no "
        "subject, or give each subject one split"
    }
    (note,) = subject_notes(
        np.array([0, 0]),
        ["a"],
        labels=np.zeros(2, int),
        splits=np.array([0, 3]),
        record=SplitRecord(ALL_SPLITS),
    )
    assert note.tone == "bad"
    alone = details(["a", "a"], ["train", "test"])[NoteCode.SUBJECT_IN_TWO_SPLITS]
    assert "certificate" not in alone


def test_only_the_first_subjects_are_named() -> None:
    names = [f"p{n}" for n in range(7)] * 2
    note = details(names, ["train"] * 7 + ["test"] * 7)[NoteCode.SUBJECT_IN_TWO_SPLITS]
    assert "7 of 7, 'p0', 'p1', 'p2', 'p3', 'p4' and 2 more (7 in train and test)" in note


def test_a_subject_in_two_classes_is_allowed_and_told() -> None:
    notes = details(["a", "a", "b", None], ["train"] * 4, labels=[0, 1, 1, 0])
    assert "1 of 2, 'a'; that is allowed" in notes[NoteCode.SUBJECT_IN_TWO_CLASSES]
    assert notes[NoteCode.WITHOUT_SUBJECT].startswith("images without a subject: 1 of 4")


def test_a_split_far_from_the_size_aimed_at_is_told_with_the_largest_subject() -> None:
    cuts = {"val": Cut("train", 0.1, 2, 100), "test": Cut("train", 0.15, 14, 100)}
    record = SplitRecord((), cuts, whole_subjects=True)
    notes = details(
        ["a"] * 84 + ["b", "b"] + ["c"] * 14, ["train"] * 84 + ["val"] * 2 + ["test"] * 14, record=record
    )
    assert notes == {
        NoteCode.UNEVEN_SPLITS: "subjects stay whole, so val has 2 images instead of 10; 'a' alone has 84 "
        "images: add images of more subjects"
    }


@pytest.fixture
def bursts(make_image: MakeImage) -> Callable[..., dict[str, bytes]]:
    """Three images of each of `count` subjects, half of them of each class."""

    def make(count: int, prefix: str = "", start: int = 0) -> dict[str, bytes]:
        return {
            f"{prefix}{('cat', 'dog')[subject % 2]}/s{start + subject}_{n}.png": make_image(
                3 * (start + subject) + n
            )
            for subject in range(count)
            for n in range(3)
        }

    return make


Bursts = Callable[..., dict[str, bytes]]


BY_FILE = FormatOptions(subject="**/{subject}_*")


def test_the_splits_of_an_import_keep_subjects_whole_and_count_them(
    tmp_path: Path, import_files: ImportFiles, bursts: Bursts
) -> None:
    report = import_files(bursts(20), layout=BY_FILE)
    store = Store.open(tmp_path / "ds")
    assert (report.state, report.subjects) == ("ready", 20)
    assert {split: counts["subjects"] for split, counts in report.splits.items()} == {
        "train": 12,
        "val": 2,
        "calibration": 3,
        "test": 3,
    }
    assert len({(s, n) for s, n in zip(store.splits.tolist(), store.subjects.tolist(), strict=True)}) == 20
    assert [note.code for note in report.notes] == [NoteCode.SPLITS_MADE]
    assert "so that each label has its share, and no subject is divided" in report.notes[0].detail
    assert report.split_record["whole_subjects"] is True


def test_given_splits_that_cut_subjects_are_reported_and_imported(
    import_files: ImportFiles, bursts: Bursts
) -> None:
    of_test = {path.replace("s100", "s0"): image for path, image in bursts(4, "test/", start=100).items()}
    report = import_files(bursts(20, "train/") | of_test, layout=BY_FILE)
    assert report.state == "ready"
    (detail,) = (n.detail for n in report.notes if n.code is NoteCode.SUBJECT_IN_TWO_SPLITS)
    assert "1 of 23, 's0' (1 in " in detail


def test_too_few_subjects_are_a_problem_that_says_so(import_files: ImportFiles, bursts: Bursts) -> None:
    report = import_files(bursts(4), layout=BY_FILE)
    assert report.state == "invalid"
    assert {problem.code for problem in report.problems} == {ProblemCode.EMPTY_SPLIT}
    assert "too few subjects to fill the split" in report.problems[0].detail
    assert import_files(bursts(5), layout=BY_FILE).state == "ready"


def test_a_test_split_of_sites_is_told_and_the_others_are_cut_from_the_rest(
    tmp_path: Path, import_files: ImportFiles, bursts: Bursts
) -> None:
    """Two subjects of each of ten sites, of whom the first has one image that is not from Oslo."""
    files = bursts(20)
    sites = ["Oslo", "Ghent", *(f"site {n}" for n in range(8))]
    lines = ["path,label,patient,meta:site"]
    for number, path in enumerate(files):
        site = sites[number // 3 % 10] if number else "site 5"
        lines.append(f"{path},{path.split('/')[0]},{number // 3},{site}")
    conditions = ("meta:site=Oslo", "meta:site=Ghent")
    table = {"labels.csv": "\n".join(lines)}
    report = import_files(files | table, layout=FormatOptions(hold_out=conditions))
    assert report.state == "ready"
    assert Store.open(tmp_path / "ds").counts == {"train": 36, "val": 6, "calibration": 6, "test": 12}
    assert report.splits["test"]["subjects"] == 4
    (detail,) = (note.detail for note in report.notes if note.code is NoteCode.HOLD_OUT)
    assert detail == (
        "test holds out meta:site=Oslo or meta:site=Ghent: 11 images, and 1 more of the same patients"
    )
    assert report.split_record["hold_out"] == conditions
    assert set(report.split_record["made"]) == {"val", "calibration"}
