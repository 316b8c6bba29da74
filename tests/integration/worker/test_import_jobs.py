"""Jobs that import a data set: from an upload, a folder, a set of ours, or one that is there already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from masktune.contract.ids import new_id
from masktune.contract.vocabulary import DatasetState, JobState
from models.data.store import Store
from tests.support.jobs.bench import Bench
from tests.support.jobs.real_jobs import CLASSES


def upload(bench: Bench, folder: Path) -> dict[str, str]:
    key = f"uploads/{new_id('ds')}"
    with bench.runtime.artifacts.writing(key) as target:
        shutil.make_archive(str(target / "archive"), "zip", folder)
        (target / "archive.zip").rename(target / "archive")
    return {"upload": key}


def test_an_upload_becomes_a_packed_store(digits: Bench) -> None:
    job, dataset = digits.imported(upload(digits, digits.images))
    assert (job.state, dataset.state) == (JobState.SUCCEEDED, DatasetState.READY)
    store = Store.open(digits.folder(str(dataset.artifact)))
    assert list(store.classes) == dataset.classes == list(CLASSES)
    assert {s: facts["count"] for s, facts in dataset.summary["splits"].items()} == store.counts
    assert dataset.summary["format"] == "image_folder"
    assert dataset.summary["sizes"] == {"longer_side_median": 16, "longer_side_max": 16}
    assert (digits.folder(str(dataset.artifact)) / "report.json").is_file()
    assert (dataset.occupies, job.occupies) == (digits.runtime.artifacts.size(str(dataset.artifact)), 0)


def test_an_upload_of_one_class_is_invalid_and_says_why(digits: Bench, tmp_path: Path) -> None:
    shutil.copytree(digits.images / CLASSES[0], tmp_path / "only" / CLASSES[0])
    source = upload(digits, tmp_path / "only")
    job, dataset = digits.imported(source)
    assert (job.state, dataset.state) == (JobState.FAILED, DatasetState.INVALID)
    assert job.error is not None
    assert (job.error["reason"], job.done) == ("dataset_invalid", {})
    assert dataset.summary["problems"][0]["code"] == "one_class"
    stored = map(digits.runtime.artifacts.size, (str(dataset.artifact), source["upload"]))
    assert dataset.occupies == sum(stored)
    assert (digits.folder(str(dataset.artifact)) / "report.json").is_file()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"builtin": "no-such-set"}, "dataset_invalid"),
        ({"upload": "uploads/gone"}, "upload_missing"),
        ({"dataset": "ds_gone"}, "source_unavailable"),
        ({"address": "file:///etc"}, "source_not_allowed"),
    ],
)
def test_a_source_that_cannot_be_had(digits: Bench, source: dict[str, str], reason: str) -> None:
    job, dataset = digits.imported(source)
    assert (job.state, dataset.state) == (JobState.FAILED, DatasetState.INVALID)
    assert job.error is not None
    assert job.error["reason"] == reason


def test_a_data_set_is_read_again_with_other_options(digits: Bench, tmp_path: Path) -> None:
    rows = ["path,label,split,patient,scanner"]
    for row, path in enumerate(sorted(digits.images.rglob("*.png"))[::4]):
        name = path.relative_to(digits.images).as_posix()
        (tmp_path / "list" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "list" / name)
        patient, split = row // 2, ("train", "val", "calibration", "test")[row % 4]
        rows.append(f"{name},{path.parent.name},{split},p{patient},{'AB'[patient % 2]}")
    (tmp_path / "list" / "labels.csv").write_text("\n".join(rows))
    _, first = digits.imported(upload(digits, tmp_path / "list"))
    again = {"dataset": first.id}
    _, copy = digits.imported(again)
    stores = [Store.open(digits.folder(str(row.artifact))) for row in (first, copy)]
    assert stores[0].digest == stores[1].digest
    _, other = digits.imported(again, options={"new_splits": True, "group": "meta:scanner"})
    assert "subject_in_two_splits" in {note["code"] for note in copy.summary["notes"]}
    assert "subject_in_two_splits" not in {note["code"] for note in other.summary["notes"]}
    assert all(" · scanner " in name for name in other.summary["groups"])
    assert other.summary["split_record"]["given"] == []


def test_images_are_added_to_a_data_set_that_is_read_again(digits: Bench, tmp_path: Path) -> None:
    rows = ["path,label,split,group,patient"]
    paths = sorted(digits.images.rglob("*.png"))
    for row, path in enumerate(paths[:-2:4]):
        name = path.relative_to(digits.images).as_posix()
        (tmp_path / "list" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "list" / name)
        split = ("train", "val", "calibration", "test")[row % 4]
        rows.append(f"{name},{path.parent.name},{split},{'AB'[row % 2]},p{row}")
    (tmp_path / "list" / "labels.csv").write_text("\n".join(rows))
    _, first = digits.imported(upload(digits, tmp_path / "list"))
    key = f"uploads/{new_id('ds')}"
    with digits.runtime.artifacts.writing(key) as folder:
        (folder / "reviewed").mkdir()
        added = ["path,label,split,subject,unknown"]
        for path in paths[-2:]:
            shutil.copy(path, folder / "reviewed" / path.name)
            added.append(f"reviewed/{path.name},{path.parent.name},train,p-new,x")
        (folder / "labels.csv").write_text("\n".join(added))
    _, more = digits.imported({"dataset": first.id, "upload": key})
    before, after = (Store.open(digits.folder(str(row.artifact))) for row in (first, more))
    assert after.counts == before.counts | {"train": before.counts["train"] + 2}
    assert (after.classes, after.group_names) == (before.classes, before.group_names)
    last = [after.sample(row) for row in range(len(after)) if after.sample(row).path.startswith("reviewed/")]
    assert [(one.split, one.subject, one.group) for one in last] == [("train", "p-new", None)] * 2
