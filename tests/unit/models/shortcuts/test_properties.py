"""What is measured of an image is what was painted on it, and where; large images in every encoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from models.shortcuts.properties import PropertyTable, simple_properties
from tests.support.arrays import Arrays, write_arrays

Images = NDArray[np.uint8]
Encoded = tuple[bytes, tuple[int, int]]


def column(table: PropertyTable, name: str, feature: str) -> NDArray[np.float32]:
    item, values = next((item, values) for item, values in table.columns() if item.name == name)
    return values[:, item.features.index(feature)]


def measured(folder: Path, images: Images) -> PropertyTable:
    labels = np.arange(len(images)) % 2
    store = write_arrays(
        folder, Arrays(images, labels, ["train"] * len(images)), DatasetInfo("x", "y", ("a", "b"))
    )
    return simple_properties(store, store.rows())


def encoded_store(folder: Path, files: list[Encoded]) -> Store:
    with StoreWriter(folder) as writer:
        for index, (data, (width, height)) in enumerate(files):
            writer.add(Row(f"{index}", index % 2, "train", -1, width, height, data))
        writer.finish(DatasetInfo("x", "y", ("a", "b")))
    return Store.open(folder)


def encode(pixels: Images, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


CORNERS: Mapping[str, tuple[slice, slice]] = {
    "top-left corner": (slice(0, 4), slice(0, 4)),
    "top-right corner": (slice(0, 4), slice(-4, None)),
    "bottom-left corner": (slice(-4, None), slice(0, 4)),
    "bottom-right corner": (slice(-4, None), slice(-4, None)),
}


@pytest.mark.parametrize("where", CORNERS)
def test_a_painted_corner_shows_there_and_in_no_other(tmp_path: Path, where: str) -> None:
    images = np.zeros((2, 28, 28, 3), np.uint8)
    images[(1, *CORNERS[where])] = (255, 0, 0)
    table = measured(tmp_path / "store", images)
    for corner in CORNERS:
        assert column(table, corner, "red").tolist() == [0, 255 if corner == where else 0]
        assert column(table, corner, "green").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("edge", "part"),
    [
        ("top edge", (slice(0, 2), slice(None))),
        ("bottom edge", (slice(-2, None), slice(None))),
        ("left edge", (slice(None), slice(0, 2))),
        ("right edge", (slice(None), slice(-2, None))),
    ],
)
def test_a_frame_on_one_side_is_that_edge(tmp_path: Path, edge: str, part: tuple[slice, slice]) -> None:
    images = np.zeros((1, 32, 32, 3), np.uint8)
    images[(0, *part)] = 200
    table = measured(tmp_path / "store", images)
    found = {
        name: column(table, name, "blue")[0]
        for name in ("top edge", "bottom edge", "left edge", "right edge")
    }
    assert found.pop(edge) == 200
    assert max(found.values()) <= 200 * 2 / 32


def test_a_ruler_is_edges_where_it_lies(tmp_path: Path) -> None:
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[1, -2:, ::2] = 255
    table = measured(tmp_path / "store", images)
    assert column(table, "bottom edge", "edges")[1] > 200
    assert column(table, "top edge", "edges")[1] == 0


def test_the_whole_image(tmp_path: Path) -> None:
    images = np.zeros((3, 16, 16, 3), np.uint8)
    images[1] = 255
    images[2, :, ::2] = (255, 0, 0)
    table = measured(tmp_path / "store", images)
    assert column(table, "brightness", "mean") == pytest.approx([0, 255, 0.299 * 127.5], abs=1e-3)
    assert column(table, "contrast", "dark share").tolist() == [1, 0, 0.5]
    assert column(table, "contrast", "bright share").tolist() == [0, 1, 0]
    assert column(table, "colour", "red–green") == pytest.approx([0, 0, 127.5])
    assert column(table, "colourfulness", "saturation") == pytest.approx([0, 0, 0.5])
    assert column(table, "sharpness", "mean edge")[:2].tolist() == [0, 0]


def test_the_file_itself(tmp_path: Path) -> None:
    pixels = np.zeros((90, 120, 3), np.uint8)
    files = [(encode(pixels, "PNG"), (120, 90)), (encode(pixels, "JPEG"), (120, 90))]
    store = encoded_store(tmp_path / "store", files)
    table = simple_properties(store, store.rows())
    lengths = [len(data) for data, _ in files]
    assert column(table, "file size", "bytes").tolist() == lengths
    assert column(table, "file size", "bytes per pixel") == pytest.approx([n / 10800 for n in lengths])
    assert column(table, "image size", "aspect ratio") == pytest.approx([120 / 90] * 2)
    assert len(set(column(table, "file type", "type").tolist())) == 2


def marked(height: int, width: int) -> Images:
    """Grey, with a green upper left eighth."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    pixels[: height // 8, : width // 8] = (0, 220, 0)
    return pixels


def oriented(pixels: Images, exif: bytes) -> bytes:
    return encode(pixels, "JPEG", quality=95, exif=exif)


def upside_down(pixels: Images) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3  # stored rotated by 180°
    return oriented(pixels[::-1, ::-1], exif.tobytes())


LARGE: Mapping[str, Callable[[Images], bytes]] = {
    "png": lambda pixels: encode(pixels, "PNG"),
    "jpeg": lambda pixels: encode(pixels, "JPEG", quality=95),
    "jpeg that EXIF turns": upside_down,
    "jpeg with broken EXIF": lambda pixels: oriented(pixels, b"Exif\x00\x00nonsense"),
}


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("size", [(72, 80), (600, 900)])
def test_large_images_are_upright_and_whole_in_every_encoding(
    tmp_path: Path, kind: str, size: tuple[int, int]
) -> None:
    height, width = size
    store = encoded_store(tmp_path / "store", [(LARGE[kind](marked(height, width)), (width, height))])
    table = simple_properties(store, store.rows())
    assert column(table, "top-left corner", "green")[0] == pytest.approx(220, abs=16)
    assert column(table, "top-left corner", "red")[0] == pytest.approx(
        0, abs=16
    )  # colour is stored at half the size
    assert column(table, "bottom-right corner", "red")[0] == pytest.approx(90, abs=3)


def test_at_most_the_limit_is_measured_and_of_huge_images_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = encoded_store(tmp_path / "store", [(encode(marked(70, 70), "PNG"), (70, 70))] * 6)
    rows = np.array([4, 2, 0, 5])
    assert simple_properties(store, rows, limit=3).rows.tolist() == [4, 2, 0]
    monkeypatch.setattr("models.shortcuts.properties.MAX_SOURCE_PIXELS", 2 * 4900)  # settings, not code
    monkeypatch.setattr("models.shortcuts.properties.MIN_IMAGES", 1)
    assert simple_properties(store, rows).rows.tolist() == [4, 2]


def test_without_a_row_there_is_nothing_to_measure(tmp_path: Path) -> None:
    store = encoded_store(tmp_path / "store", [(encode(marked(70, 70), "PNG"), (70, 70))])
    with pytest.raises(ValueError, match="no sample"):
        simple_properties(store, store.rows()[:0])
