"""16-bit grey images keep their levels through the window of their data set; 8-bit ones know of none."""

from __future__ import annotations

import hashlib
import json
import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.data.grey import LEVELS, GreyWindow, histogram, read_window, to_8_bit, window_of
from models.data.images.checks import decode_image
from models.data.images.decoding import stored_square
from models.data.layout import DATASET_FILE, DatasetInfo, StoreError
from models.data.report import NoteCode
from models.data.store import Store
from tests.integration.models.data.conftest import ImportFiles
from tests.support.arrays import Arrays, write_arrays
from tests.unit.models.data.conftest import MakeImage


def grey_16(levels: NDArray[np.uint16], format: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.fromarray(levels).save(buffer, format)
    return buffer.getvalue()


def scan(seed: int) -> bytes:
    """A 12-bit image: a ramp over all 4,096 levels, shifted by the seed."""
    return grey_16(((np.arange(80 * 80).reshape(80, 80) + 40 * seed) % 4096).astype(np.uint16))


def scans(count: int = 10) -> dict[str, bytes]:
    return {
        f"{name}/{n}.png": scan(2 * n + k) for n in range(count) for k, name in enumerate(("ill", "well"))
    }


def test_without_a_window_the_upper_8_bits_are_taken() -> None:
    levels = np.arange(LEVELS).astype(np.uint16)
    assert np.array_equal(to_8_bit(levels, None), levels // 256)


def test_a_window_is_linear_and_clips() -> None:
    levels = np.array([[0, 99, 100], [150, 355, 60_000]], np.uint16)
    assert to_8_bit(levels, GreyWindow(100, 355)).tolist() == [[0, 0, 0], [50, 255, 255]]


def test_the_window_leaves_a_thousandth_of_the_pixels_at_either_end() -> None:
    levels = np.repeat(np.array([7, 500, 900, 65_000], np.uint16), [9, 5_000, 4_982, 9])
    assert window_of(histogram(levels)) == (500, 900)
    levels = np.repeat(np.array([7, 500, 900, 65_000], np.uint16), [10, 4_990, 4_989, 11])
    assert window_of(histogram(levels)) == (7, 65_000)


@pytest.mark.parametrize(("level", "window"), [(0, (0, 1)), (300, (300, 301)), (65_535, (65_534, 65_535))])
def test_one_level_has_a_window_too(level: int, window: tuple[int, int]) -> None:
    assert window_of(histogram(np.full((8, 8), level, np.uint16))) == window


@pytest.mark.parametrize("value", [[1], [1, 1], [-1, 5], [0, LEVELS], ["0", "9"], {"low": 0}, 5])
def test_what_is_no_window_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a window"):
        read_window(value)


def test_12_bit_images_keep_their_levels_and_the_report_tells_the_window(
    tmp_path: Path, import_files: ImportFiles
) -> None:
    report = import_files(scans())
    store = Store.open(tmp_path / "ds")
    assert store.info.grey_window is not None
    low, high = store.info.grey_window
    assert low < 10
    assert 4080 < high < 4096
    for row in range(len(store)):
        pixels = stored_square(store.image_bytes(row), 80, window=store.info.grey_window).numpy()
        assert len(np.unique(pixels)) > 200
    assert len(np.unique(np.asarray(decode_image(store.image_bytes(0)).image))) == 16
    (note,) = [note for note in report.notes if note.code is NoteCode.GREY_WINDOW]
    assert f"16-bit grey levels: 20; the levels {low} to {high} become 0 to 255" in note.detail
    assert note._asdict() in report.summary()["notes"]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_every_file_type_keeps_them(format: str) -> None:
    levels = np.arange(64 * 64).reshape(64, 64).astype(np.uint16)
    picture = decode_image(grey_16(levels, format), window=GreyWindow(0, 4095)).image
    assert np.array_equal(np.asarray(picture)[:, :, 1], to_8_bit(levels, GreyWindow(0, 4095)))


def test_the_window_is_of_the_training_images_alone(tmp_path: Path, import_files: ImportFiles) -> None:
    bright = grey_16(np.random.default_rng(0).integers(50_000, 60_000, (16, 16), np.uint16))
    files = {
        f"{split}/{name}/{n}.png": bright if split == "test" else scan(10 * n + len(name))
        for split in ("train", "val", "calibration", "test")
        for name in ("ill", "well")
        for n in range(2)
    }
    import_files(files)
    window = Store.open(tmp_path / "ds").info.grey_window
    assert window is not None
    assert window.high < 4096


def test_without_a_16_bit_image_in_train_there_is_none(
    tmp_path: Path, import_files: ImportFiles, make_image: MakeImage
) -> None:
    files = {
        f"{split}/{name}/{n}.png": scan(n) if split == "test" else make_image(10 * n + len(name))
        for split in ("train", "val", "calibration", "test")
        for name in ("ill", "well")
        for n in range(2)
    }
    report = import_files(files)
    assert Store.open(tmp_path / "ds").info.grey_window is None
    assert "none of them is in train" in next(n.detail for n in report.notes if n.code == "grey_window")


def test_the_owner_may_choose_the_window(tmp_path: Path, import_files: ImportFiles) -> None:
    report = import_files(scans(4), grey_window=GreyWindow(100, 3000))
    assert Store.open(tmp_path / "ds").info.grey_window == (100, 3000)
    (note,) = [note for note in report.notes if note.code is NoteCode.GREY_WINDOW]
    assert "the levels 100 to 3000 become 0 to 255" in note.detail
    assert note.detail.endswith("as you chose")


def test_a_chosen_window_of_8_bit_images_changes_nothing_and_says_so(
    tmp_path: Path, import_files: ImportFiles, make_image: MakeImage
) -> None:
    files = {f"{'ill' if n % 2 else 'well'}/{n}.png": make_image(n) for n in range(20)}
    report = import_files(files, grey_window=GreyWindow(100, 3000))
    assert Store.open(tmp_path / "ds").info.grey_window is None
    assert "changes nothing" in next(n.detail for n in report.notes if n.code is NoteCode.GREY_WINDOW)


def test_pictures_that_differ_in_their_lower_bits_are_two(import_files: ImportFiles) -> None:
    flat = np.arange(20 * 16 * 16).reshape(20, 16, 16) % 200  # all of them black without a window
    files = {
        f"{'ill' if n % 2 else 'well'}/{n}.png": grey_16((i + n).astype(np.uint16))
        for n, i in enumerate(flat)
    }
    report = import_files(files)
    assert report.duplicates == ()


def plain_digest(store: Store) -> str:
    files = [hashlib.sha256(store.image_bytes(row)).digest() for row in range(len(store))]
    return hashlib.sha256(b"".join(files) + store.labels.tobytes() + store.splits.tobytes()).hexdigest()


def test_a_set_of_8_bit_images_has_neither_window_nor_note(
    tmp_path: Path, import_files: ImportFiles, make_image: MakeImage
) -> None:
    files = {f"{'ill' if n % 2 else 'well'}/{n}.png": make_image(n) for n in range(20)}
    report = import_files(files)
    store = Store.open(tmp_path / "ds")
    assert store.info.grey_window is None
    assert NoteCode.GREY_WINDOW not in {note.code for note in report.notes}
    assert store.digest == plain_digest(store)
    assert store.pixels is not None


@pytest.fixture
def windowed(tmp_path: Path) -> Store:
    info = DatasetInfo("scans", "csv", ("ill", "well"), grey_window=GreyWindow(0, 4095))
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    return write_arrays(tmp_path / "ds", Arrays(pixels, np.array([0, 1]), ["train"] * 2), info)


def test_another_window_goes_along_to_other_processes(windowed: Store) -> None:
    other = windowed.with_window(GreyWindow(0, 9000))
    sent: Store = pickle.loads(pickle.dumps(other))
    assert sent.info.grey_window == (0, 9000)
    assert sent.digest == other.digest != windowed.digest
    assert windowed.with_window(windowed.info.grey_window) is windowed


def test_a_damaged_window_is_said(windowed: Store) -> None:
    file = windowed.directory / DATASET_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"grey_window": [5, 2]}))
    with pytest.raises(StoreError, match="cannot be read"):
        Store.open(windowed.directory)
