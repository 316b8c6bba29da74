"""The whole import: what becomes of good and bad data, and what a stop leaves behind."""

from __future__ import annotations

import json
import os
import signal
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.data.formats import FormatOptions
from models.data.images.image_types import ImageLimits
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.layout import StoreError
from models.data.report import REPORT_FILE, FileCode, ImportReport, ImportStopped, NoteCode, ProblemCode
from models.data.store import Store

MakeImage = Callable[..., bytes]
MakeTree = Callable[[Mapping[str, bytes | str]], Path]
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


def test_a_folder_becomes_a_store(tmp_path: Path, make_tree: MakeTree, pets: Pets) -> None:
    files = pets()
    calls: list[tuple[int, int]] = []
    report = import_dataset(
        make_tree(files),
        tmp_path / "ds",
        ImportOptions(name="pets", seed=5),
        on_progress=lambda done, total: calls.append((done, total)),
    )
    assert (report.state, report.count, report.classes, report.rejected) == ("ready", 20, ("cat", "dog"), ())
    store = Store.open(tmp_path / "ds")
    assert {store.sample(row).path: store.image_bytes(row) for row in range(20)} == files
    assert store.counts == {"train": 12, "val": 2, "calibration": 3, "test": 3}
    assert {split: counts["count"] for split, counts in report.splits.items()} == store.counts
    assert store.info.split_record["seed"] == 5
    assert store.pixels is not None
    assert notes(report) == {NoteCode.SPLITS_MADE}
    assert calls == sorted(calls)
    assert calls[-1] == (40, 40)
    assert json.loads((tmp_path / "ds" / "report.json").read_text()) == json.loads(
        json.dumps(report.to_json())
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "tree"]


def test_an_archive_becomes_a_store(tmp_path: Path, pets: Pets) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for name, data in (pets(prefix="pets/") | {"__MACOSX/._x": b"junk"}).items():
            archive.writestr(name, data)
    report = import_dataset(tmp_path / "pets.zip", tmp_path / "ds")
    assert (report.state, report.count) == ("ready", 20)
    assert [rejection.code for rejection in report.ignored] == [FileCode.JUNK]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "pets.zip"]


def test_files_that_are_no_part_of_the_data_set_are_named(
    tmp_path: Path, make_tree: MakeTree, pets: Pets
) -> None:
    tree = make_tree(pets() | {"notes.docx": b"PK\x03\x04", "LICENSE": b"free"})
    report = import_dataset(tree, tmp_path / "ds")
    assert report.state == "ready"
    (detail,) = (note.detail for note in report.notes if note.code is NoteCode.FILES_NOT_USED)
    assert detail.startswith("2 files were not used: ")
    assert "'LICENSE'" in detail
    assert "'notes.docx'" in detail


def test_bad_files_are_named_and_the_rest_is_used(tmp_path: Path, make_tree: MakeTree, pets: Pets) -> None:
    image = pets()["cat/0.png"]
    bad = {
        "cat/cut.png": image[:-30],
        "cat/page.png": b"<html><body>404</body></html>",
        "dog/empty.png": b"",
        "dog/named.jpg": image,
        "dog/big.png": image + bytes(20_000),
    }
    options = ImportOptions(image=ImageLimits(max_bytes=20_000))
    report = import_dataset(make_tree(pets() | bad), tmp_path / "ds", options)
    assert report.state == "ready"
    assert {rejection.path: rejection.code for rejection in report.rejected} == {
        "cat/cut.png": FileCode.TRUNCATED,
        "cat/page.png": FileCode.NOT_AN_IMAGE,
        "dog/empty.png": FileCode.EMPTY_FILE,
        "dog/named.jpg": FileCode.MISLABELLED,
        "dog/big.png": FileCode.TOO_LARGE,
    }
    assert report.summary()["rejected"]["truncated"] == 1
    assert len(Store.open(tmp_path / "ds")) == 20


def test_a_split_without_objects_is_counted_where_there_is_one(
    tmp_path: Path, make_tree: MakeTree, pets: Pets
) -> None:
    folders = ("in9l/train/", "original/val/", "only_bg_t/val/")
    files = {k: v for n, folder in enumerate(folders) for k, v in pets(4, folder, 8 * n).items()}
    report = import_dataset(make_tree(files), tmp_path / "ds")
    assert report.state == "ready"
    store = Store.open(tmp_path / "ds")
    assert store.counts == {"train": 6, "val": 1, "calibration": 1, "test": 8, "only_bg_t": 8}
    assert {split: counts["count"] for split, counts in report.splits.items()} == store.counts
    rows = store.rows("only_bg_t")
    assert {store.sample(row).split for row in rows} == {"only_bg_t"}
    assert (store.groups[rows] == -1).all()
    assert store.group_names == ("original",)
    assert len(store.rows("no_fg")) == 0


def test_one_picture_in_two_splits_is_kept_and_reported(
    tmp_path: Path, make_tree: MakeTree, pets: Pets
) -> None:
    files = pets(prefix="train/") | pets(prefix="val/", start=100) | pets(prefix="test/", start=200)
    files["test/cat/leak.png"] = files["train/cat/0.png"]
    files["train/dog/wrong.png"] = files["train/cat/1.png"]
    report = import_dataset(make_tree(files), tmp_path / "ds")
    assert (report.state, report.count) == ("ready", 62)
    leak, wrong = sorted(report.duplicates, key=lambda duplicate: duplicate.paths)
    assert (leak.paths, leak.splits) == (("test/cat/leak.png", "train/cat/0.png"), ("test", "train"))
    assert leak.codes == (NoteCode.IN_TWO_SPLITS,)
    assert wrong.codes == (NoteCode.DUPLICATES, NoteCode.CONFLICTING_LABELS)
    assert notes(report) >= {NoteCode.IN_TWO_SPLITS, NoteCode.CONFLICTING_LABELS}


@pytest.mark.parametrize(
    ("copies", "sentence", "certificate"),
    [
        (
            {"train/cat/0.png": "calibration", "train/dog/1.png": "calibration test"},
            "pictures in more than one split: 2 (2 in train and calibration, 1 in train and test, "
            "1 in calibration and test)",
            True,
        ),
        ({"train/dog/1.png": "test"}, "pictures in more than one split: 1 (1 in train and test)", False),
    ],
)
def test_which_splits_share_how_many_pictures_is_said(
    tmp_path: Path, make_tree: MakeTree, pets: Pets, copies: dict[str, str], sentence: str, certificate: bool
) -> None:
    splits = ("train", "val", "calibration", "test")
    files = {k: v for n, split in enumerate(splits) for k, v in pets(4, f"{split}/", 100 * n).items()}
    for path, targets in copies.items():
        for split in targets.split():
            files[f"{split}/cat/copy-{path.replace('/', '-')}"] = files[path]
    report = import_dataset(make_tree(files), tmp_path / "ds")
    (detail,) = (note.detail for note in report.notes if note.code is NoteCode.IN_TWO_SPLITS)
    assert detail.startswith(sentence)
    assert ("certificate" in detail) == certificate


def test_equal_pictures_go_to_one_split_when_we_make_them(
    tmp_path: Path, make_tree: MakeTree, make_image: MakeImage
) -> None:
    files = {
        f"{name}/{n}.{end}": make_image(n // 3 + 100 * (name == "dog"), format=kind)
        for name in ("cat", "dog")
        for n in range(30)
        for end, kind in [("png", "PNG")]
    }
    files["cat/other.bmp"] = make_image(0, format="BMP")
    report = import_dataset(make_tree(files), tmp_path / "ds")
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
    cats = {name: data for name, data in pets().items() if name.startswith("cat")}
    cases: list[tuple[dict[str, bytes], ProblemCode]] = [
        (cats, ProblemCode.ONE_CLASS),
        ({"cat/1.png": b"<html>", "dog/1.png": b""}, ProblemCode.NO_IMAGES),
        (pets(prefix="train/") | {"val/": b""}, ProblemCode.EMPTY_SPLIT),
        (pets(prefix="train/") | {"val/cat/1.png": b"x"}, ProblemCode.EMPTY_SPLIT),
        (pets(prefix="val/"), ProblemCode.EMPTY_SPLIT),
        (pets(count=1), ProblemCode.EMPTY_SPLIT),
        (pets(prefix="train/") | {"test/cow/1.png": make_image(99)}, ProblemCode.CLASS_NOT_IN_TRAIN),
        ({"notes.txt": b""}, ProblemCode.UNKNOWN_FORMAT),
    ]
    for number, (files, code) in enumerate(cases):
        root = make_tree({f"{number}/{name}": data for name, data in files.items()}) / str(number)
        report = import_dataset(root, tmp_path / "ds")
        assert code in problems(report), (number, report.problems)
        assert all(problem.detail for problem in report.problems)
        assert [path.name for path in (tmp_path / "ds").iterdir()] == ["report.json"]
        with pytest.raises(StoreError):
            Store.open(tmp_path / "ds")


def test_thumbnails_among_photographs_are_counted(
    tmp_path: Path, make_tree: MakeTree, make_image: MakeImage
) -> None:
    photographs = {
        f"{name}/{n}.png": make_image(n, size=(90, 120)) for name in ("cat", "dog") for n in range(6)
    }
    small = {f"dog/small-{n}.png": make_image(n, size=(20, 16)) for n in range(3)}
    large = import_dataset(make_tree(photographs), tmp_path / "large")
    report = import_dataset(make_tree(photographs | small), tmp_path / "ds")
    (detail,) = (note.detail for note in report.notes if note.code is NoteCode.SMALL_IMAGES)
    assert detail.startswith("3 of 15 images are at most 30 pixels wide and high, while half of all are 120")
    assert NoteCode.SMALL_IMAGES not in notes(large)


def test_a_class_that_the_cut_splits_used_up_is_told_how_many_images_it_needs(
    tmp_path: Path, make_tree: MakeTree, pets: Pets
) -> None:
    report = import_dataset(make_tree(pets(count=2)), tmp_path / "ds")
    (problem,) = report.problems
    assert problem.code is ProblemCode.CLASS_NOT_IN_TRAIN
    assert "took all 2, so that none is left to train on; add some (4 are enough)" in problem.detail
    assert import_dataset(make_tree(pets(count=4)), tmp_path / "ds").state == "ready"


def test_refused_sources_are_invalid_data_sets(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and nothing more")
    assert problems(import_dataset(tmp_path / "a.zip", tmp_path / "ds")) == {ProblemCode.DAMAGED_ARCHIVE}
    assert problems(import_dataset("builtin:svhn", tmp_path / "ds")) == {ProblemCode.SOURCE_UNAVAILABLE}
    assert problems(import_dataset("builtin:none", tmp_path / "ds")) == {ProblemCode.UNKNOWN_BUILTIN}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "ds"]


def test_builtin_digits(tmp_path: Path) -> None:
    report = import_dataset("builtin:biased-digits", tmp_path / "ds", ImportOptions(seed=3))
    store = Store.open(tmp_path / "ds")
    assert (report.state, len(store), store.classes) == ("ready", 1797, ("0-4", "5-9"))
    assert store.pixels is not None
    assert store.pixels.shape == (1797, 28, 28, 3)
    assert report.splits["test"]["groups"].keys() == {"0-4 · no square", "5-9 · square"}


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

    archive = tmp_path / "pets.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for name, content in pets().items():
            opened.writestr(name, content)
    if stopped:
        with pytest.raises(ImportStopped):
            import_dataset(archive, tmp_path / "ds", should_stop=should_stop)
        assert list(tmp_path.iterdir()) == [archive]
    else:
        report = import_dataset(archive, tmp_path / "ds", should_stop=should_stop)
        assert problems(report) == {ProblemCode.TOO_COSTLY}
        assert [file.name for file in (tmp_path / "ds").iterdir()] == [REPORT_FILE]
        assert sorted(tmp_path.iterdir()) == [tmp_path / "ds", archive]


def test_what_a_killed_import_left_is_swept_away(tmp_path: Path, make_tree: MakeTree, pets: Pets) -> None:
    for name in (".ds.partial-dead", ".ds2.partial-alive"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "samples.arrow").touch()
    import_dataset(make_tree(pets()), tmp_path / "ds")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ds2.partial-alive", "ds", "tree"]


def test_a_class_list_rejects_other_labels(
    tmp_path: Path, make_tree: MakeTree, pets: Pets, make_image: MakeImage
) -> None:
    tree = make_tree(pets() | {"cow/1.png": make_image(999)})
    options = ImportOptions(layout=FormatOptions(classes=("dog", "cat")))
    report = import_dataset(tree, tmp_path / "ds", options)
    assert (report.state, report.classes) == ("ready", ("dog", "cat"))
    assert [rejection.code for rejection in report.rejected] == [FileCode.UNKNOWN_LABEL]
    missing = replace(options, layout=FormatOptions(classes=("dog", "cat", "cow", "yak")))
    assert problems(import_dataset(tree, tmp_path / "ds", missing)) == {ProblemCode.CLASS_NOT_IN_TRAIN}


def test_pixels_are_what_the_files_decode_to(tmp_path: Path, make_tree: MakeTree, pets: Pets) -> None:
    from models.data.images.checks import decode_image

    import_dataset(make_tree(pets()), tmp_path / "ds")
    store = Store.open(tmp_path / "ds")
    assert store.pixels is not None
    for row in range(len(store)):
        assert np.array_equal(store.pixels[row], np.asarray(decode_image(store.image_bytes(row)).image))


@pytest.mark.parametrize("layout", ["folder", "table", "option"])
def test_a_data_set_may_hold_test_images_alone(
    tmp_path: Path, make_tree: MakeTree, pets: Pets, layout: str
) -> None:
    files: dict[str, bytes | str] = {**pets(2, "test/" if layout == "folder" else "")}
    if layout == "table":
        rows = (f"{path},{path.split('/')[0]},test" for path in files)
        files |= {"labels.csv": "\n".join(["path,label,split", *rows])}
    options = ImportOptions(layout=FormatOptions(split="test" if layout == "option" else None))
    report = import_dataset(make_tree(files), tmp_path / "ds", options)
    assert (report.state, report.count, report.problems) == ("ready", 4, ())
    assert Store.open(tmp_path / "ds").counts == {"train": 0, "val": 0, "calibration": 0, "test": 4}
    assert notes(report) == {NoteCode.ONLY_TEST}


def test_test_images_may_be_of_one_class(tmp_path: Path, make_tree: MakeTree, pets: Pets) -> None:
    cats = {path: image for path, image in pets(3).items() if path.startswith("cat/")}
    tree = make_tree(cats)
    assert problems(import_dataset(tree, tmp_path / "all")) == {ProblemCode.ONE_CLASS}
    report = import_dataset(tree, tmp_path / "ds", ImportOptions(layout=FormatOptions(split="test")))
    assert (report.state, report.classes) == ("ready", ("cat",))


def test_the_option_overrules_the_splits_of_the_files(
    tmp_path: Path, make_tree: MakeTree, pets: Pets
) -> None:
    files = pets(3, "train/") | pets(2, "val/", start=50)
    report = import_dataset(
        make_tree(files), tmp_path / "ds", ImportOptions(layout=FormatOptions(split="test"))
    )
    assert Store.open(tmp_path / "ds").counts["test"] == report.count == 10


def test_of_test_images_alone_none_can_be_held_out(tmp_path: Path, make_tree: MakeTree, pets: Pets) -> None:
    options = FormatOptions(split="test", hold_out=("meta:site=Bern",))
    report = import_dataset(make_tree(pets(3)), tmp_path / "ds", ImportOptions(layout=options))
    assert problems(report) == {ProblemCode.HOLD_OUT}
