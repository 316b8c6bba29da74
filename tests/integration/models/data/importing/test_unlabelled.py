"""Images without labels: what is a sample, what is named as broken, and what the store says of them."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data.archives import ArchiveLimits
from models.data.download import download
from models.data.formats import DatasetFormat, FormatOptions
from models.data.images.limits import ImageLimits
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.report import FileCode, ProblemCode, Rejection
from models.data.store import Store
from tests.integration.models.data.conftest import ImportFiles
from tests.unit.models.data.conftest import MakeImage, MakeTree

UNLABELLED = DatasetFormat.UNLABELLED


def test_every_image_in_any_folder_is_a_sample_without_label_and_split(
    import_files: ImportFiles, make_image: MakeImage, tmp_path: Path
) -> None:
    names = ["9.png", "lunch/1.png", "lunch/monday/deep/2.JPG", "train/cat/3.png"]
    files = {name: make_image(n, format="JPEG" if "JPG" in name else "PNG") for n, name in enumerate(names)}
    report = import_files(files, format=UNLABELLED)
    assert (report.state, report.format, report.count) == ("ready", "unlabelled", 4)
    assert (report.classes, report.splits, report.rejected, report.notes) == ((), {}, (), ())
    store = Store.open(tmp_path / "ds")
    assert not store.labelled
    assert [store.sample(row).path for row in range(4)] == names
    assert {(sample.label, sample.split) for sample in map(store.sample, range(4))} == {(-1, "")}
    assert not any(store.counts.values())


def test_a_folder_that_wraps_all_images_stays_in_their_paths(
    import_files: ImportFiles, make_image: MakeImage, tmp_path: Path
) -> None:
    import_files({"lunch/a/1.png": make_image()}, format=UNLABELLED)
    assert Store.open(tmp_path / "ds").sample(0).path == "lunch/a/1.png"


def test_one_readable_image_among_broken_ones_suffices_and_each_broken_one_is_named(
    import_files: ImportFiles, make_image: MakeImage
) -> None:
    image = make_image()
    files = {
        "good.png": image,
        "half.png": image[: len(image) // 2],
        "empty.jpg": b"",
        "page.png": b"<html><body>",
        "clip.mp4": b"no image by its name",
        "huge.png": b"x" * 20_000,
        "notes.csv": "a,b",
    }
    report = import_files(files, format=UNLABELLED, image=ImageLimits(max_bytes=10_000))
    assert (report.state, report.count) == ("ready", 1)
    assert {file.path: file.code for file in report.rejected} == {
        "half.png": FileCode.TRUNCATED,
        "empty.jpg": FileCode.EMPTY_FILE,
        "page.png": FileCode.NOT_AN_IMAGE,
        "clip.mp4": FileCode.UNSUPPORTED_TYPE,
        "huge.png": FileCode.TOO_LARGE,
    }
    assert all(file.detail for file in report.rejected)
    assert [file.path for file in report.ignored] == ["notes.csv"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"photos/": ""}, "there are no files: upload a folder of images"),
        ({"notes.txt": "no image"}, "there is no image among the files: add some"),
        ({"1.png": "no image"}, "no image is usable: see the rejected files"),
    ],
)
def test_without_a_usable_image_there_is_no_data_set(
    import_files: ImportFiles, files: dict[str, str], sentence: str
) -> None:
    report = import_files(files, format=UNLABELLED)
    assert report.state == "invalid"
    assert [problem.code for problem in report.problems] == [ProblemCode.NO_IMAGES]
    assert report.problems[0].detail.startswith(sentence)


def test_a_file_of_three_gigabytes_is_named_without_being_read(
    make_tree: MakeTree, make_image: MakeImage, tmp_path: Path
) -> None:
    folder = make_tree({"1.png": make_image(), "huge.png": ""})
    with (folder / "huge.png").open("r+b") as file:
        file.truncate(3 << 30)  # without a block on the disk
    report = import_dataset(folder, tmp_path / "ds", ImportOptions(format=UNLABELLED, threads=1))
    assert [(file.path, file.code) for file in report.rejected] == [("huge.png", FileCode.TOO_LARGE)]
    assert "3221225472 bytes" in report.rejected[0].detail


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (ArchiveLimits(max_entries=2), ProblemCode.TOO_MANY_ENTRIES),
        (ArchiveLimits(max_bytes=1000), ProblemCode.TOO_MANY_BYTES),
    ],
)
def test_a_folder_is_held_to_the_limits_of_an_archive(
    import_files: ImportFiles, make_image: MakeImage, limits: ArchiveLimits, code: ProblemCode
) -> None:
    files = {f"{n}.png": make_image(n) for n in range(3)}
    report = import_files(files, format=UNLABELLED, archive=limits)
    assert [problem.code for problem in report.problems] == [code]


def test_copies_are_kept_and_named(import_files: ImportFiles, make_image: MakeImage) -> None:
    report = import_files({"a/1.png": make_image(), "b/1.png": make_image()}, format=UNLABELLED)
    assert (report.state, report.count, len(report.notes)) == ("ready", 2, 1)
    assert report.notes[0].detail == "pictures that occur more than once: 1; all copies were kept"
    (same,) = report.duplicates
    assert (same.paths, same.splits, same.labels) == (("a/1.png", "b/1.png"), ("", ""), ("", ""))
    assert same.same_bytes


def test_files_that_were_rejected_before_are_named_first(
    make_tree: MakeTree, make_image: MakeImage, tmp_path: Path
) -> None:
    outside = Rejection("etc/1.png", FileCode.BAD_PATH, "is outside")
    options = ImportOptions(format=UNLABELLED, threads=1)
    folder = make_tree({"1.png": make_image(), "2.png": ""})
    report = import_dataset(folder, tmp_path / "ds", options, rejected=[outside])
    assert [file.path for file in report.rejected] == ["etc/1.png", "2.png"]
    (tmp_path / "empty").mkdir()
    report = import_dataset(tmp_path / "empty", tmp_path / "ds", options, rejected=[outside])
    assert (report.state, report.rejected) == ("invalid", (outside,))
    assert "see the rejected files" in report.problems[0].detail


def test_the_path_may_name_subjects(import_files: ImportFiles, make_image: MakeImage) -> None:
    files = {f"p{n % 2}/{n}.png": make_image(n) for n in range(4)}
    layout = FormatOptions(subject="{subject}/*")
    assert import_files(files, format=UNLABELLED, layout=layout).subjects == 2


def test_the_window_of_16_bit_images_is_measured_on_all(import_files: ImportFiles, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    levels = np.linspace(100, 4000, 80 * 80).astype(np.uint16).reshape(80, 80)
    Image.fromarray(levels).save(buffer, "PNG")
    report = import_files({"1.png": buffer.getvalue()}, format=UNLABELLED)
    window = Store.open(tmp_path / "ds").info.grey_window
    assert window is not None
    assert (round(window.low, -2), round(window.high, -2)) == (100, 4000)
    assert "where they are displayed: 0.1% of the pixels of the set" in report.notes[0].detail


def test_a_download_is_uploaded_again_as_it_was_or_with_its_labels_filled_in(
    import_files: ImportFiles, make_image: MakeImage, tmp_path: Path
) -> None:
    import_files({f"day/{n}.png": make_image(n) for n in range(20)}, format=UNLABELLED)
    store = Store.open(tmp_path / "ds")
    archive = tmp_path / "download.zip"
    archive.write_bytes(b"".join(download(store)))
    options = ImportOptions(format=UNLABELLED, threads=1)
    assert import_dataset(archive, tmp_path / "again", options).state == "ready"
    assert Store.open(tmp_path / "again").digest == store.digest

    with zipfile.ZipFile(archive) as download_file:
        download_file.extractall(tmp_path / "filled")
    table = tmp_path / "filled/labels.csv"
    head, *rows = csv.reader(io.StringIO(table.read_text()))
    assert (head, rows[0]) == (["path", "label", "split"], ["day/0.png", "", ""])
    lines = [f"{path},{'ab'[row % 2]}," for row, (path, *_) in enumerate(rows)]
    table.write_text("\n".join(["path,label,split", *lines]))
    report = import_dataset(tmp_path / "filled", tmp_path / "labelled", ImportOptions(threads=1))
    assert (report.state, report.count, report.classes) == ("ready", 20, ("a", "b"))


@pytest.mark.parametrize("folder", ["", "photos/"])
def test_a_detected_format_never_leaves_labels_out_but_names_the_one_that_does(
    import_files: ImportFiles, make_image: MakeImage, folder: str
) -> None:
    report = import_files({f"{folder}{n}.png": make_image(n) for n in range(3)})
    assert report.state == "invalid"
    assert "the format unlabelled" in report.problems[0].detail
