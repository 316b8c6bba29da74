"""The whole import: what becomes of good and bad data, and what a stop leaves behind."""

from __future__ import annotations

import json
import os
import signal
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from models.data.formats import FormatOptions
from models.data.images.checks import decode_image
from models.data.images.limits import ImageLimits
from models.data.importing.builtin import BuiltinData
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.layout import StoreError
from models.data.report import REPORT_FILE, FileCode, ImportReport, ImportStopped, NoteCode, ProblemCode
from models.data.store import Store
from tests.integration.models.data.conftest import ImportFiles
from tests.unit.models.data.conftest import MakeImage, MakeTree

Pets = Callable[..., dict[str, bytes]]


@pytest.fixture
def pets(make_image: MakeImage) -> Pets:
    """`count` different images of each of two classes, below `prefix`."""

    def make(count: int = 10, prefix: str = "", start: int = 0) -> dict[str, bytes]:
        seeds = iter(range(start, start + 2 * count))
        return {
            f"{prefix}{name}/{n}.png": make_image(next(seeds))
            for n in range(count)
            for name in ("cat", "dog")
        }

    return make


def problems(report: ImportReport) -> set[ProblemCode]:
    assert report.state == "invalid"
    return {problem.code for problem in report.problems}


def notes(report: ImportReport) -> set[NoteCode]:
    return {note.code for note in report.notes}


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_folder_becomes_a_store(tmp_path: Path, make_tree: MakeTree, pets: Pets) -> None:
    files = pets()
    calls: list[tuple[int, int]] = []
    report = import_dataset(
        make_tree(files),
        tmp_path / "ds",
        ImportOptions(name="pets", seed=5),
        on_progress=lambda progress: calls.append((progress.step, progress.steps)),
    )
    assert (report.state, report.count, report.classes, report.rejected) == ("ready", 20, ("cat", "dog"), ())
    store = Store.open(tmp_path / "ds")
    assert {store.sample(row).path: store.image_bytes(row) for row in range(20)} == files
    assert store.counts == {"train": 12, "val": 2, "calibration": 3, "test": 3}
    assert {split: counts["count"] for split, counts in report.splits.items()} == store.counts
    assert store.info.split_record["seed"] == 5
    assert store.pixels is not None
    for row in range(20):
        assert np.array_equal(store.pixels[row], np.asarray(decode_image(store.image_bytes(row)).image))
    assert notes(report) == {NoteCode.SPLITS_MADE}
    assert calls == sorted(calls)
    assert calls[-1] == (40, 40)
    written = json.loads((tmp_path / "ds" / "report.json").read_text())
    assert written == json.loads(json.dumps(report.to_json()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "tree"]


def test_an_archive_becomes_a_store_and_what_is_no_part_of_it_is_named(tmp_path: Path, pets: Pets) -> None:
    others = {"__MACOSX/._x": b"junk", "pets/notes.docx": b"PK\x03\x04", "pets/LICENSE": b"free"}
    archive = zipped(tmp_path / "pets.zip", pets(prefix="pets/") | others)
    report = import_dataset(archive, tmp_path / "ds")
    assert (report.state, report.count) == ("ready", 20)
    assert FileCode.JUNK in [rejection.code for rejection in report.ignored]
    (detail,) = (note.detail for note in report.notes if note.code is NoteCode.FILES_NOT_USED)
    assert detail.startswith("2 files were not used: ")
    assert "'LICENSE'" in detail
    assert "'notes.docx'" in detail
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "pets.zip"]


def test_bad_files_are_named_and_the_rest_is_used(
    tmp_path: Path, import_files: ImportFiles, pets: Pets
) -> None:
    image = pets()["cat/0.png"]
    bad = {
        "cat/cut.png": image[:-30],
        "cat/page.png": b"<html><body>404</body></html>",
        "dog/empty.png": b"",
        "dog/named.jpg": image,
        "dog/big.png": image + bytes(20_000),
    }
    report = import_files(pets() | bad, image=ImageLimits(max_bytes=20_000))
    assert report.state == "ready"
    assert {rejection.path: rejection.code for rejection in report.rejected} == {
        "cat/cut.png": FileCode.TRUNCATED,
        "cat/page.png": FileCode.NOT_AN_IMAGE,
        "dog/empty.png": FileCode.EMPTY_FILE,
        "dog/named.jpg": FileCode.MISLABELLED,
        "dog/big.png": FileCode.TOO_LARGE,
    }
    details = {rejection.path: rejection.detail for rejection in report.rejected}
    assert "HTML" in details["cat/page.png"]
    assert "rename" in details["dog/named.jpg"]
    assert report.summary()["rejected"]["truncated"] == 1
    assert len(Store.open(tmp_path / "ds")) == 20


def test_a_split_without_objects_is_counted_where_there_is_one(
    tmp_path: Path, import_files: ImportFiles, pets: Pets
) -> None:
    folders = ("in9l/train/", "original/val/", "only_bg_t/val/")
    report = import_files({k: v for n, name in enumerate(folders) for k, v in pets(4, name, 8 * n).items()})
    assert report.state == "ready"
    store = Store.open(tmp_path / "ds")
    assert store.counts == {"train": 6, "val": 1, "calibration": 1, "test": 8, "only_bg_t": 8}
    assert {split: counts["count"] for split, counts in report.splits.items()} == store.counts
    rows = store.rows("only_bg_t")
    assert {store.sample(row).split for row in rows} == {"only_bg_t"}
    assert (store.groups[rows] == -1).all()
    assert store.group_names == ("original",)
    assert len(store.rows("no_fg")) == 0


def test_one_picture_in_two_splits_is_kept_and_reported(import_files: ImportFiles, pets: Pets) -> None:
    files = pets(4, "train/") | pets(4, "val/", start=100) | pets(4, "test/", start=200)
    files["test/cat/leak.png"] = files["train/cat/0.png"]
    files["train/dog/wrong.png"] = files["train/cat/1.png"]
    report = import_files(files)
    assert (report.state, report.count) == ("ready", 26)
    leak, wrong = sorted(report.duplicates, key=lambda duplicate: duplicate.paths)
    assert (leak.paths, leak.splits) == (("test/cat/leak.png", "train/cat/0.png"), ("test", "train"))
    assert leak.codes == (NoteCode.IN_TWO_SPLITS,)
    assert wrong.codes == (NoteCode.DUPLICATES, NoteCode.CONFLICTING_LABELS)
    details = {note.code: note.detail for note in report.notes}
    assert NoteCode.CONFLICTING_LABELS in details
    sentence = "pictures in more than one split: 1 (1 in train and test)"
    assert details[NoteCode.IN_TWO_SPLITS].startswith(sentence)
    assert "certificate" not in details[NoteCode.IN_TWO_SPLITS]


def test_a_picture_of_calibration_in_another_split_concerns_the_certificate(
    import_files: ImportFiles, pets: Pets
) -> None:
    splits = ("train", "val", "calibration", "test")
    files = {k: v for n, split in enumerate(splits) for k, v in pets(4, f"{split}/", 100 * n).items()}
    files["calibration/cat/copy.png"] = files["train/cat/0.png"]
    files["calibration/cat/other.png"] = files["test/cat/other.png"] = files["train/dog/1.png"]
    report = import_files(files)
    (detail,) = (note.detail for note in report.notes if note.code is NoteCode.IN_TWO_SPLITS)
    assert detail.startswith(
        "pictures in more than one split: 2 (2 in train and calibration, 1 in train and test, "
        "1 in calibration and test)"
    )
    assert "certificate" in detail


def test_equal_pictures_go_to_one_split_when_we_make_them(
    tmp_path: Path, import_files: ImportFiles, make_image: MakeImage
) -> None:
    files = {
        f"{name}/{n}.png": make_image(n // 3 + 100 * (name == "dog"))
        for name in ("cat", "dog")
        for n in range(30)
    }
    report = import_files(files | {"cat/other.bmp": make_image(0, format="BMP")})
    assert len(report.duplicates) == 20
    assert all(len(set(duplicate.splits)) == 1 for duplicate in report.duplicates)
    assert [duplicate.same_bytes for duplicate in report.duplicates].count(False) == 1
    store = Store.open(tmp_path / "ds")
    paths = [store.sample(row).path for row in range(len(store))]
    first = {min(map(paths.index, same.paths)) for same in report.duplicates}
    assert set(np.flatnonzero(store.firsts(np.arange(61))).tolist()) == first
    (tmp_path / "ds" / REPORT_FILE).unlink()  # then the files tell, and one of them is of another format
    assert Store.open(tmp_path / "ds").firsts(np.arange(61)).sum() == 21


def test_invalid_data_sets_say_why(
    tmp_path: Path, make_tree: MakeTree, pets: Pets, make_image: MakeImage
) -> None:
    trained = pets(3, "train/")
    cases: list[tuple[dict[str, bytes], ProblemCode]] = [
        ({name: data for name, data in pets(3).items() if "cat" in name}, ProblemCode.ONE_CLASS),
        ({"cat/1.png": b"<html>", "dog/1.png": b""}, ProblemCode.NO_IMAGES),
        (trained | {"val/": b""}, ProblemCode.EMPTY_SPLIT),
        (trained | {"val/cat/1.png": b"x"}, ProblemCode.EMPTY_SPLIT),
        (pets(3, "val/"), ProblemCode.EMPTY_SPLIT),
        (pets(count=1), ProblemCode.EMPTY_SPLIT),
        (trained | {"test/cow/1.png": make_image(99)}, ProblemCode.CLASS_NOT_IN_TRAIN),
    ]
    for number, (files, code) in enumerate(cases):
        root = make_tree({f"{number}/{name}": data for name, data in files.items()}) / str(number)
        report = import_dataset(root, tmp_path / "ds", ImportOptions(threads=1))
        assert code in problems(report), (number, report.problems)
        assert all(problem.detail for problem in report.problems)
        assert [path.name for path in (tmp_path / "ds").iterdir()] == ["report.json"]
        with pytest.raises(StoreError):
            Store.open(tmp_path / "ds")


def test_a_class_that_the_cut_splits_used_up_is_told_how_many_images_it_needs(
    import_files: ImportFiles, pets: Pets
) -> None:
    (problem,) = import_files(pets(count=2)).problems
    assert problem.code is ProblemCode.CLASS_NOT_IN_TRAIN
    assert "took all 2, so that none is left to train on; add some (4 are enough)" in problem.detail


def test_thumbnails_among_photographs_are_counted(import_files: ImportFiles, make_image: MakeImage) -> None:
    sizes = {"": (90, 120), "small-": (20, 16)}
    files = {
        f"{name}/{prefix}{n}.png": make_image(n, size=sizes[prefix])
        for name, prefix, count in (("cat", "", 6), ("dog", "", 6), ("dog", "small-", 3))
        for n in range(count)
    }
    report = import_files(files)
    (detail,) = (note.detail for note in report.notes if note.code is NoteCode.SMALL_IMAGES)
    assert detail.startswith("3 of 15 images are at most 30 pixels wide and high, while half of all are 120")


def test_refused_sources_are_invalid_data_sets(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and nothing more")
    assert problems(import_dataset(tmp_path / "a.zip", tmp_path / "ds")) == {ProblemCode.DAMAGED_ARCHIVE}
    assert problems(import_dataset("builtin:svhn", tmp_path / "ds")) == {ProblemCode.SOURCE_UNAVAILABLE}
    assert problems(import_dataset("builtin:none", tmp_path / "ds")) == {ProblemCode.UNKNOWN_BUILTIN}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "ds"]


def test_a_builtin_data_set_has_the_classes_and_groups_of_its_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(40) % 2
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    arrays = BuiltinData(images, labels, ("5-9", "0-4"), None, labels, ("square", "none"))
    monkeypatch.setattr("models.data.importing.datasets.make_builtin", lambda *_: arrays)
    report = import_dataset("builtin:digits", tmp_path / "ds", ImportOptions(threads=1))
    store = Store.open(tmp_path / "ds")
    assert (report.state, store.classes) == ("ready", ("5-9", "0-4"))
    assert store.pixels is not None
    assert np.array_equal(store.pixels, images)
    assert report.splits["test"]["groups"].keys() == {"square", "none"}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, make_tree: MakeTree, pets: Pets) -> None:
    tree = make_tree(pets())
    packed = []
    for threads in (1, 3):
        import_dataset(tree, tmp_path / "ds", ImportOptions(seed=1, threads=threads))
        packed.append((tmp_path / "ds" / "samples.arrow").read_bytes())
    assert packed[0] == packed[1]


@pytest.mark.parametrize("after", [0, 7, 25])
def test_a_stop_leaves_nothing(tmp_path: Path, make_tree: MakeTree, pets: Pets, after: int) -> None:
    calls = iter(range(1000))
    with pytest.raises(ImportStopped):
        import_dataset(make_tree(pets()), tmp_path / "ds", should_stop=lambda: next(calls) >= after)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_reader_that_ends_is_a_stop_or_a_refusal_and_leaves_nothing(
    tmp_path: Path, pets: Pets, stopped: bool
) -> None:
    """Of a stopped job, the process that unpacks may end first; otherwise a library crashed in it."""
    importer = os.getpid()

    def should_stop() -> bool:
        if os.getpid() != importer:
            os.kill(os.getpid(), signal.SIGTERM)
        return stopped

    archive = zipped(tmp_path / "pets.zip", pets())
    if stopped:
        with pytest.raises(ImportStopped):
            import_dataset(archive, tmp_path / "ds", should_stop=should_stop)
        assert list(tmp_path.iterdir()) == [archive]
    else:
        report = import_dataset(archive, tmp_path / "ds", should_stop=should_stop)
        assert problems(report) == {ProblemCode.TOO_COSTLY}
        assert [file.name for file in (tmp_path / "ds").iterdir()] == [REPORT_FILE]
        assert sorted(tmp_path.iterdir()) == [tmp_path / "ds", archive]


def test_what_a_killed_import_left_is_swept_away(
    tmp_path: Path, import_files: ImportFiles, pets: Pets
) -> None:
    for name in (".ds.partial-dead", ".ds2.partial-alive"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "samples.arrow").touch()
    import_files(pets(4))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ds2.partial-alive", "ds", "tree"]


def test_a_class_list_rejects_other_labels(
    import_files: ImportFiles, pets: Pets, make_image: MakeImage
) -> None:
    files = pets() | {"cow/1.png": make_image(999)}
    report = import_files(files, layout=FormatOptions(classes=("dog", "cat")))
    assert (report.state, report.classes) == ("ready", ("dog", "cat"))
    assert [rejection.code for rejection in report.rejected] == [FileCode.UNKNOWN_LABEL]
    missing = import_files(files, layout=FormatOptions(classes=("dog", "cat", "cow", "yak")))
    assert problems(missing) == {ProblemCode.CLASS_NOT_IN_TRAIN}


def test_a_data_set_may_hold_test_images_alone(tmp_path: Path, import_files: ImportFiles, pets: Pets) -> None:
    report = import_files(pets(2, "test/"))
    assert (report.state, report.count, report.problems) == ("ready", 4, ())
    assert Store.open(tmp_path / "ds").counts == {"train": 0, "val": 0, "calibration": 0, "test": 4}
    assert notes(report) == {NoteCode.ONLY_TEST}


def test_the_option_overrules_the_splits_of_the_files_and_test_images_may_be_of_one_class(
    tmp_path: Path, import_files: ImportFiles, pets: Pets
) -> None:
    cats = {path: image for path, image in (pets(3, "train/") | pets(2, "val/", 50)).items() if "cat" in path}
    report = import_files(cats, layout=FormatOptions(split="test"))
    assert (report.state, report.classes) == ("ready", ("cat",))
    assert Store.open(tmp_path / "ds").counts["test"] == report.count == 5
