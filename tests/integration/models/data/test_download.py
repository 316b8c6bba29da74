"""A data set that is downloaded and uploaded again is the same one, whatever it was read from."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data.columns import write_columns
from models.data.download import LABELS_FILE, download
from models.data.formats import FormatOptions
from models.data.formats.lists.side_files import CLASSES_FILE
from models.data.grey import GreyWindow
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from tests.unit.models.data.conftest import MakeImage, MakeTree


def _imported(source: Path, target: Path, *, seed: int = 5, **options: object) -> Store:
    """With another seed than the default, so that splits that are made anew are others."""
    layout = FormatOptions(**options)  # type: ignore[arg-type]
    report = import_dataset(source, target, ImportOptions(seed=seed, threads=1, layout=layout))
    assert report.state == "ready", report.problems
    assert not report.rejected
    return Store.open(target)


PETS = DatasetInfo("pets", "csv", ("a", "b"))


def _packed(
    folder: Path,
    paths: Sequence[str],
    encoded: Callable[[int], bytes],
    info: DatasetInfo = PETS,
    *,
    subjects: Sequence[str | None] = (),
    metadata: Mapping[str, Sequence[str]] | None = None,
) -> Store:
    """Images of two classes in four splits, and of the groups of `info` or of none, by turns."""
    with StoreWriter(folder) as writer:
        for row, path in enumerate(paths):
            split = ("train", "val", "calibration", "test")[row // 2 % 4]
            group = row % 3 - 1 if info.group_names else -1
            writer.add(Row(path, row % 2, split, group, 16, 12, encoded(row)))
        write_columns(writer.folder, subjects or [None] * len(paths), metadata or {})
        writer.finish(info)
    return Store.open(folder)


def _downloaded(store: Store, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    archive = folder / "download.zip"
    archive.write_bytes(b"".join(download(store)))
    return archive


def _samples(store: Store) -> list[tuple[object, ...]]:
    """All that a sample says of itself, with names for numbers."""
    names = {None: None} | dict(enumerate(store.group_names))
    samples = [store.sample(row) for row in range(len(store))]
    return [
        (s.path, store.classes[s.label], s.split, names[s.group], s.subject, dict(s.metadata), s.sha256)
        for s in samples
    ]


def _assert_same_again(store: Store, folder: Path) -> Store:
    again = _imported(_downloaded(store, folder), folder / "again", seed=0)
    assert again.digest == store.digest
    assert again.classes == store.classes
    assert _samples(again) == _samples(store)
    return again


def test_an_order_of_classes_of_ones_own_comes_back(
    tmp_path: Path, make_tree: MakeTree, make_image: MakeImage
) -> None:
    files = {
        f"{name}/{n}.png": make_image(10 * k + n) for n in range(10) for k, name in enumerate(("cat", "dog"))
    }
    store = _imported(make_tree(files), tmp_path / "ds", classes=("dog", "cat"))
    again = _assert_same_again(store, tmp_path / "out")
    assert again.classes == ("dog", "cat")


def test_splits_without_objects_and_groups_come_back(
    tmp_path: Path, make_tree: MakeTree, make_image: MakeImage
) -> None:
    trees = ("original/train", "original/val", "mixed_same/val", "no_fg/val", "only_bg_t/val")
    names = [f"{tree}/{name}/{n}.png" for tree in trees for name in ("dog", "bird") for n in range(6)]
    store = _imported(make_tree({name: make_image(n) for n, name in enumerate(names)}), tmp_path / "ds")
    _assert_same_again(store, tmp_path / "out")


def test_names_that_a_table_must_quote_come_back(tmp_path: Path, make_image: MakeImage) -> None:
    awkward = ('=1+1, "so"', "a;b|c", "é 日本", "12:30", "#no comment", "'quoted'", "-1", "NULL")
    store = _packed(
        tmp_path / "ds",
        [f"{awkward[row % 8]}/{row}.png" for row in range(32)],
        make_image,
        DatasetInfo("odd", "csv", ("=1+1", '@SUM("A1")'), ("=A1", "g,h")),
        subjects=[awkward[row % 8] if row % 5 else None for row in range(32)],
        metadata={
            "age": [str(row / 3) for row in range(32)],
            "note, free;b;c;d;e;f;g;h": [awkward[row % 7] for row in range(32)],
        },
    )
    again = _imported(_downloaded(store, tmp_path / "out"), tmp_path / "again")
    assert again.digest == store.digest
    assert [column.kind for column in again.metadata.values()] == ["number", "text"]


@pytest.mark.parametrize("odd", ["Labels.csv/1.png", "classes.txt/1.png", "C:/1.png", " a/1.png"])
def test_an_image_that_would_hide_the_table_or_cannot_be_named_there_lies_below_a_folder(
    odd: str, tmp_path: Path, make_image: MakeImage
) -> None:
    store = _packed(tmp_path / "ds", [odd, *(f"cat/{n}.png" for n in range(9))], make_image)
    again = _imported(_downloaded(store, tmp_path / "out"), tmp_path / "again")
    assert again.digest == store.digest
    assert again.sample(0).path == f"images/{odd}"


def test_a_chosen_window_of_16_bit_images_comes_back(tmp_path: Path) -> None:
    def grey(level: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.full((12, 16), 100 * level, np.uint16)).save(buffer, "PNG")
        return buffer.getvalue()

    info = DatasetInfo("scans", "csv", ("ill", "well"), grey_window=GreyWindow(7, 4000))
    store = _packed(tmp_path / "ds", [f"{n}.png" for n in range(20)], grey, info)
    assert _assert_same_again(store, tmp_path / "out").info.grey_window == (7, 4000)


def test_the_table_has_a_row_for_each_image_in_row_order_and_only_the_columns_that_there_are(
    tmp_path: Path,
) -> None:
    store = _packed(tmp_path / "ds", [f"{n}.png" for n in range(12)], lambda _: b"x")
    with zipfile.ZipFile(io.BytesIO(b"".join(download(store)))) as archive:
        names = archive.namelist()
        text = archive.read(LABELS_FILE).decode()
        assert archive.read(CLASSES_FILE) == b"a\nb\n"
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == ["path", "label", "split"]
    assert [row[0] for row in rows] == [f"{n}.png" for n in range(12)] == names[:-2]
    assert text.endswith("\r\n")


def test_a_number_is_written_in_the_fewest_digits_that_read_as_the_same(tmp_path: Path) -> None:
    ages = {"age": ["63.0", "", "0.1", "1e300"]}
    store = _packed(tmp_path / "ds", [f"{n}.png" for n in range(4)], lambda _: b"x", metadata=ages)
    assert store.metadata["age"].cells(slice(0, 4)) == ["63", "", "0.1", "1e+300"]


def test_reading_a_data_set_takes_a_few_mebibytes_at_a_time(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(40)]
    store = _packed(tmp_path / "ds", names, lambda row: np.random.default_rng(row).bytes(1 << 20))
    assert max(map(len, download(store))) < 3 << 20
