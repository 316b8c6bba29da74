"""The packed store: what is written is what is read, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.feather
import pytest

from models.data.layout import DatasetInfo, StoreError
from models.data.packing import Row, StoreWriter
from models.data.store import Store, evenly
from tests.support.arrays import Arrays, write_arrays

INFO = DatasetInfo("pets", "image_folder", ("cat", "dog"), ("indoors", "outdoors"), seed=3)


@pytest.fixture
def arrays() -> Arrays:
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 9, 3), dtype=np.uint8)
    splits = ["train"] * 6 + ["val", "calibration", "test", "test"]
    return Arrays(images, np.arange(10) % 2, splits, np.array([0, 1, -1, 0, 1, 0, 1, 0, 1, -1]))


@pytest.fixture
def store(tmp_path: Path, arrays: Arrays) -> Store:
    return write_arrays(tmp_path / "ds", arrays, INFO)


def test_everything_comes_back(store: Store, arrays: Arrays) -> None:
    assert (store.classes, store.group_names, len(store)) == (("cat", "dog"), ("indoors", "outdoors"), 10)
    assert store.counts == {"train": 6, "val": 1, "calibration": 1, "test": 2}
    assert store.labels.tolist() == arrays.labels.tolist()
    assert store.sizes.tolist() == [[9, 8]] * 10
    sample = store.sample(4)
    assert (sample.label, sample.split, sample.group, sample.width, sample.height) == (0, "train", 1, 9, 8)
    assert sample.sha256 == hashlib.sha256(store.image_bytes(4)).hexdigest()
    assert store.sample(2).group is None
    assert store.info == INFO
    assert store.has_groups


def test_rows_meet_every_condition(store: Store) -> None:
    assert store.rows(split="train", label=1).tolist() == [1, 3, 5]
    assert store.rows(group=1).tolist() == [1, 4, 6, 8]
    assert store.rows(split="test", label=0, group=0).tolist() == []
    with pytest.raises(ValueError, match="holdout"):
        store.rows(split="holdout")


def test_of_copies_the_first_among_the_rows_counts(tmp_path: Path, arrays: Arrays) -> None:
    """By their files, where nothing says which pictures are the same."""
    arrays.images[[4, 7, 9]] = arrays.images[2]
    store = write_arrays(tmp_path / "ds", arrays, INFO)
    assert store.firsts(np.arange(10)).tolist() == [True] * 4 + [False] + [True] * 2 + [False, True, False]
    assert store.firsts(store.rows("test")).tolist() == [True, True]
    assert store.firsts(np.array([4, 7, 8])).tolist() == [True, False, True]
    assert store.firsts(np.array([], np.int64)).tolist() == []
    shown = store.pictures(np.array([9, 0, 4, 1, 2]))
    assert shown[0] == shown[2] == shown[4]
    assert len(set(shown.tolist())) == 3


def test_a_certificate_counts_pictures_that_nothing_else_has_seen(tmp_path: Path, arrays: Arrays) -> None:
    for source, copy in ((0, 2), (1, 3), (4, 5), (6, 8)):
        arrays.images[copy] = arrays.images[source]
    splits = ["train", "val", *["calibration"] * 6, "test", "test"]
    write_arrays(tmp_path / "ds", arrays._replace(splits=splits), INFO)
    assert Store.open(tmp_path / "ds").calibration_rows().tolist() == [4, 6, 7]


def test_pixels_are_the_images(store: Store, arrays: Arrays) -> None:
    assert store.pixels is not None
    assert np.array_equal(store.pixels, arrays.images)
    assert isinstance(store.pixels, np.memmap)


@pytest.mark.parametrize("row", [-1, 10])
def test_no_such_row(store: Store, row: int) -> None:
    with pytest.raises(IndexError, match="numbered from 0 to 9"):
        store.image_bytes(row)


def test_a_known_library_opens_it(store: Store) -> None:
    table = pyarrow.feather.read_table(store.directory / "samples.arrow", memory_map=True)
    assert table["image"][7].as_py() == store.image_bytes(7)
    assert table["split"].to_pylist()[-1] == "test"


def test_many_batches_and_odd_sizes(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "ds") as writer:
        for index in range(2500):
            content = b"x" * (index % 7) + bytes([index % 256])
            writer.add(Row(f"{index}", index % 2, "train", -1, 8, 8 + index % 2, content))
            assert writer.count == index + 1
            writer.pixels.add(np.zeros((8 + index % 2, 8, 3), dtype=np.uint8))
        writer.finish(INFO)
    store = Store.open(tmp_path / "ds")
    assert store.pixels is None
    assert store.image_bytes(2499) == b"x" * (2499 % 7) + bytes([2499 % 256])
    for row in (0, 1023, 1024, 2047, 2048):
        assert store.sample(row).path == f"{row}"


def test_without_finish_nothing_is_left(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "ds") as writer:
        writer.add(Row("a", 0, "train", -1, 8, 8, b"x"))
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_store_replaces_an_older_one_whole(tmp_path: Path, store: Store, arrays: Arrays) -> None:
    before = store.image_bytes(0)
    write_arrays(tmp_path / "ds", arrays._replace(images=255 - arrays.images), INFO)
    assert [path.name for path in tmp_path.iterdir()] == ["ds"]
    assert Store.open(tmp_path / "ds").image_bytes(0) != before
    assert store.image_bytes(0) == before  # a reader that has it open keeps what it had


def test_damage_is_named(tmp_path: Path, store: Store) -> None:
    with pytest.raises(StoreError, match="not a packed data set"):
        Store.open(tmp_path / "none")
    header = store.directory / "dataset.json"
    value = json.loads(header.read_text())
    header.write_text(json.dumps(value | {"count": 9}))
    with pytest.raises(StoreError, match="does not hold 9"):
        Store.open(store.directory)
    header.write_text(json.dumps(value | {"version": 99}))
    with pytest.raises(StoreError, match="import it again"):
        Store.open(store.directory)
    header.write_text(json.dumps(value))
    samples = store.directory / "samples.arrow"
    samples.write_bytes(samples.read_bytes()[:-200])
    with pytest.raises(StoreError, match=r"samples\.arrow cannot be read"):
        Store.open(store.directory)


def test_a_pixel_file_of_another_length_is_refused(store: Store) -> None:
    np.save(store.directory / "pixels.npy", np.zeros((9, 8, 9, 3), dtype=np.uint8))
    with pytest.raises(StoreError, match="wrong shape"):
        _ = store.pixels


@pytest.mark.parametrize(("rows", "count", "kept"), [(5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (1, 1, [0])])
def test_a_sample_of_rows_is_evenly_spaced(rows: int, count: int, kept: list[int]) -> None:
    assert evenly(np.arange(rows) + 7, count).tolist() == [7 + place for place in kept]


def test_the_digest_of_the_images_knows_no_order(store: Store, arrays: Arrays, tmp_path: Path) -> None:
    backwards = Arrays(arrays.images[::-1], arrays.labels, arrays.splits, arrays.groups)
    other = write_arrays(tmp_path / "backwards", backwards, INFO)
    assert other.images_digest == store.images_digest
    assert other.digest != store.digest
    fewer = Arrays(arrays.images[:9], arrays.labels[:9], arrays.splits[:9])
    assert write_arrays(tmp_path / "fewer", fewer, INFO).images_digest != store.images_digest


def test_as_test_images_of_another_class_list(store: Store, arrays: Arrays) -> None:
    """The same in another process, and never taken for the data set itself."""
    view = store.as_test(("bird", "dog", "cat"), np.array([0, 9]))
    for seen in (view, pickle.loads(pickle.dumps(view))):
        assert seen.counts == {"train": 0, "val": 0, "calibration": 0, "test": 8}
        assert seen.rows("test").tolist() == list(range(1, 9))
        assert [seen.classes[label] for label in seen.labels] == [store.classes[n] for n in arrays.labels]
        assert seen.sample(3).split == "test"
        assert seen.digest != store.digest
    assert store.counts["train"] == 6
