"""A data set that is downloaded and uploaded again is the same one, whatever it was read from."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data.columns import write_columns
from models.data.download import LABELS_FILE, download
from models.data.formats import FormatOptions
from models.data.formats.lists.side_files import CLASSES_FILE
from models.data.grey import GreyWindow
from models.data.importing.builtin import BuiltinData
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.data.store import Store

MakeImage = Callable[..., bytes]
MakeTree = Callable[[Mapping[str, bytes | str]], Path]
Pets = Callable[..., dict[str, bytes]]


def _imported(source: Path | str, target: Path, *, seed: int = 5, **options: object) -> Store:
    """With another seed than the default, so that splits that are made anew are others."""
    layout = FormatOptions(**options)  # type: ignore[arg-type]
    report = import_dataset(source, target, ImportOptions(seed=seed, layout=layout))
    assert report.state == "ready", report.problems
    assert not report.rejected
    return Store.open(target)


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


def _files(make_image: MakeImage, *names: str) -> dict[str, bytes]:
    return {name: make_image(seed) for seed, name in enumerate(names)}


def _table(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


@pytest.fixture
def folders(make_image: MakeImage) -> dict[str, bytes]:
    """Ten images of each of two classes in folders."""
    return _files(make_image, *(f"{name}/{n}.png" for n in range(10) for name in ("cat", "dog")))


@pytest.fixture
def waterbirds(make_image: MakeImage) -> dict[str, bytes | str]:
    files = _files(make_image, *(f"{('0.wren', '1.gull')[n % 2]}/{n}.png" for n in range(16)))
    rows = [f"{n},{path},{n % 2},{n // 2 % 3},{n // 4 % 2},x" for n, path in enumerate(files)]
    return files | {"metadata.csv": _table("img_id,img_filename,y,split,place,place_filename", *rows)}


@pytest.fixture
def celeba(make_image: MakeImage) -> dict[str, bytes | str]:
    files = _files(make_image, *(f"img_align_celeba/{n:02}.png" for n in range(16)))
    rows = [f"{n:02}.png,{(n % 2) * 2 - 1},{(n // 2 % 2) * 2 - 1}" for n in range(16)]
    parts = [f"{n:02}.png,{n // 4 % 3}" for n in range(16)]
    return files | {
        "list_attr_celeba.csv": _table("image_id,Blond_Hair,Male", *rows),
        "list_eval_partition.csv": _table("image_id,partition", *parts),
    }


@pytest.fixture
def backgrounds(make_image: MakeImage) -> dict[str, bytes]:
    trees = ("original/train", "original/val", "mixed_same/val", "no_fg/val", "only_bg_t/val")
    return _files(
        make_image, *(f"{tree}/{c}/{n}.png" for tree in trees for c in ("dog", "bird") for n in range(6))
    )


@pytest.fixture
def coco(make_image: MakeImage) -> dict[str, bytes | str]:
    files = _files(make_image, *(f"images/{n}.png" for n in range(20)))
    fields = [{"patient": f"p {n // 2}", "Age at scan": n / 3, "note": f" a, {n} "} for n in range(20)]
    listed = {
        "images": [{"id": n, "file_name": f"{n}.png"} | fields[n] for n in range(20)],
        "annotations": [{"id": n, "image_id": n, "category_id": n % 2} for n in range(20)],
        "categories": [{"id": 0, "name": "well"}, {"id": 1, "name": "ill"}],
    }
    return files | {"instances.json": json.dumps(listed)}


@pytest.fixture
def hugging_face(make_image: MakeImage) -> dict[str, bytes | str]:
    files = _files(make_image, *(f"{split}/{n}.png" for split in ("train", "test") for n in range(10)))
    lists = {
        f"{split}/metadata.jsonl": _table(
            *(
                json.dumps({"file_name": f"{n}.png", "label": "ab"[n % 2], " site ": f"s{n % 3}", "age": n})
                for n in range(10)
            )
        )
        for split in ("train", "test")
    }
    return files | lists


@pytest.mark.parametrize("layout", ["folders", "waterbirds", "celeba", "backgrounds", "coco", "hugging_face"])
def test_every_layout_comes_back_from_a_table(
    layout: str, request: pytest.FixtureRequest, tmp_path: Path, make_tree: MakeTree
) -> None:
    store = _imported(make_tree(request.getfixturevalue(layout)), tmp_path / "ds")
    _assert_same_again(store, tmp_path / "out")


def test_a_builtin_data_set_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(40) % 2
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    arrays = BuiltinData(images, labels, ("5-9", "0-4"), None, labels, ("square", "none"))
    monkeypatch.setattr("models.data.importing.datasets.make_builtin", lambda *_: arrays)
    _assert_same_again(_imported("builtin:digits", tmp_path / "ds"), tmp_path / "out")


def test_an_order_of_classes_of_ones_own_comes_back(
    tmp_path: Path, make_tree: MakeTree, folders: dict[str, bytes]
) -> None:
    store = _imported(make_tree(folders), tmp_path / "ds", classes=("dog", "cat"))
    again = _assert_same_again(store, tmp_path / "out")
    assert again.classes == ("dog", "cat")


def test_names_that_a_table_must_quote_come_back(tmp_path: Path, make_image: MakeImage) -> None:
    awkward = ('=1+1, "so"', "a;b|c", "é 日本", "12:30", "#no comment", "'quoted'", "-1", "NULL")
    classes = ("=1+1", '@SUM("A1")')
    with StoreWriter(tmp_path / "ds") as writer:
        for row in range(32):
            path = f"{awkward[row % 8]}/{row}.png"
            split = ("train", "val", "calibration", "test")[row // 2 % 4]
            writer.add(Row(path, row % 2, split, row % 3 - 1, 16, 12, make_image(row)))
        write_columns(
            writer.folder,
            [awkward[row % 8] if row % 5 else None for row in range(32)],
            {
                "age": [str(row / 3) for row in range(32)],
                "note, free;b;c;d;e;f;g;h": [awkward[row % 7] for row in range(32)],
            },
        )
        writer.finish(DatasetInfo("odd", "csv", classes, ("=A1", "g,h")))
    again = _imported(_downloaded(Store.open(tmp_path / "ds"), tmp_path / "out"), tmp_path / "again")
    assert again.digest == Store.open(tmp_path / "ds").digest


def test_subjects_and_metadata_come_back(
    tmp_path: Path, make_tree: MakeTree, folders: dict[str, bytes]
) -> None:
    rows = [
        f"{path},{path[:3]},p{n % 6 or ''},{n / 7},{'Berlin' if n % 2 else ''},{n % 4}"
        for n, path in enumerate(folders)
    ]
    table = _table("path,label,subject,meta:Age,meta:site,meta:visit", *rows)
    store = _imported(make_tree(folders | {"patients.csv": table}), tmp_path / "ds")
    assert list(store.metadata) == ["Age", "site", "visit"]
    again = _assert_same_again(store, tmp_path / "out")
    assert {column.name: column.kind for column in again.metadata.values()} == {
        "Age": "number",
        "site": "text",
        "visit": "number",
    }


@pytest.mark.parametrize("odd", ["Labels.csv/1.png", "classes.txt/1.png", "C:/1.png", " a/1.png"])
def test_an_image_that_would_hide_the_table_or_cannot_be_named_there_lies_below_a_folder(
    odd: str, tmp_path: Path, make_tree: MakeTree, folders: dict[str, bytes], make_image: MakeImage
) -> None:
    store = _imported(
        make_tree(folders | {odd: make_image(99), odd.replace("1", "2"): make_image(98)}), tmp_path / "ds"
    )
    again = _imported(_downloaded(store, tmp_path / "out"), tmp_path / "again")
    assert again.digest == store.digest
    assert again.sample(0).path == f"images/{store.sample(0).path}"


def test_a_chosen_window_of_16_bit_images_comes_back(tmp_path: Path, make_tree: MakeTree) -> None:
    files: dict[str, bytes] = {}
    for n in range(20):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 8), 100 * n, np.uint16)).save(buffer, "PNG")
        files[f"{('ill', 'well')[n % 2]}/{n}.png"] = buffer.getvalue()
    options = ImportOptions(grey_window=GreyWindow(7, 4000))
    import_dataset(make_tree(files), tmp_path / "ds", options)
    again = _assert_same_again(Store.open(tmp_path / "ds"), tmp_path / "out")
    assert again.info.grey_window == (7, 4000)


def test_the_table_has_a_row_for_each_image_in_row_order_and_only_the_columns_that_there_are(
    tmp_path: Path, make_tree: MakeTree, folders: dict[str, bytes]
) -> None:
    store = _imported(make_tree(folders), tmp_path / "ds")
    with zipfile.ZipFile(io.BytesIO(b"".join(download(store)))) as archive:
        names = archive.namelist()
        text = archive.read(LABELS_FILE).decode()
        assert archive.read(CLASSES_FILE) == b"cat\ndog\n"
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == ["path", "label", "split"]
    assert [row[0] for row in rows] == [store.sample(row).path for row in range(len(store))] == names[:-2]
    assert text.endswith("\r\n")


def test_a_number_is_written_in_the_fewest_digits_that_read_as_the_same(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "ds") as writer:
        for row in range(4):
            writer.add(Row(f"a/{row}.png", row % 2, "train", -1, 8, 8, b"x"))
        write_columns(writer.folder, [None] * 4, {"age": ["63.0", "", "0.1", "1e300"]})
        writer.finish(DatasetInfo("pets", "csv", ("a", "b")))
    assert Store.open(tmp_path / "ds").metadata["age"].cells(slice(0, 4)) == ["63", "", "0.1", "1e+300"]


def test_reading_a_data_set_takes_a_few_mebibytes_at_a_time(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "ds") as writer:
        for row in range(40):
            writer.add(
                Row(f"a/{row}.png", row % 2, "train", -1, 8, 8, np.random.default_rng(row).bytes(1 << 20))
            )
        writer.finish(DatasetInfo("pets", "csv", ("a", "b")))
    assert max(map(len, download(Store.open(tmp_path / "ds")))) < 3 << 20
