"""Stored images as PNG: what they show, and how many are drawn at a time."""

from __future__ import annotations

import asyncio
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.datasets import pictures, samples
from app.datasets.pictures import Pictures
from core.errors import Overloaded
from models.data.grey import GreyWindow, to_8_bit
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from tests.support.tiffs import jpeg_with, orientation, tiff

WINDOW = GreyWindow(100, 3000)
LEVELS = np.random.default_rng(0).integers(0, 4096, (20, 30)).astype(np.uint16)


def encoded(pixels: Any, format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


COLOURS = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
FILES = {
    "scan.png": (encoded(LEVELS, "PNG"), True),
    "scan.tif": (encoded(LEVELS, "TIFF"), True),
    "photo.tif": (encoded(COLOURS, "TIFF", icc_profile=b"of a camera"), True),
    "photo.png": (encoded(COLOURS, "PNG"), False),
    "turned.jpg": (jpeg_with(tiff([orientation(6)])), False),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with StoreWriter(tmp_path / "ds") as writer:
        for path, (file, _) in FILES.items():
            writer.add(Row(path, 0, "test", -1, *Image.open(BytesIO(file)).size, file))
        writer.finish(DatasetInfo("scans", "image_folder", ("a", "b"), grey_window=WINDOW))
    return Store.open(tmp_path / "ds")


def test_a_picture_has_the_pixels_that_networks_see(store: Store) -> None:
    grey = np.repeat(to_8_bit(LEVELS, WINDOW)[:, :, None], 3, 2)
    for number, pixels in enumerate((grey, grey, COLOURS, COLOURS)):
        drawn = Image.open(BytesIO(pictures.png(store, number, None)))
        assert (drawn.format, "icc_profile" in drawn.info) == ("PNG", False)
        assert np.array_equal(np.asarray(drawn), pixels)
    turned = Image.open(BytesIO(FILES["turned.jpg"][0])).size[::-1]
    assert Image.open(BytesIO(pictures.png(store, 4, None))).size == turned
    assert Image.open(BytesIO(pictures.png(store, 0, 15))).size == (15, 10)


def test_a_sample_says_whether_browsers_need_its_png(store: Store) -> None:
    said = [samples.describe(store, number).needs_png for number in range(len(store))]
    assert said == [needs for _, needs in FILES.values()]


class HeldStore(Store):
    """Hands out an image when `go` is set."""

    go = threading.Event()
    reading = 0

    def image_bytes(self, row: int) -> bytes:
        self.reading += 1
        assert self.go.wait(10)
        return super().image_bytes(row)


@pytest.mark.anyio
async def test_few_are_drawn_at_a_time_and_many_may_wait(store: Store) -> None:
    held, drawing = HeldStore.open(store.directory), Pictures()
    waiting = [asyncio.create_task(drawing.draw(held, 0, None)) for _ in range(pictures.MOST_WAITING)]
    while held.reading < pictures.MOST_DECODING:
        await asyncio.sleep(0.001)
    with pytest.raises(Overloaded):
        await drawing.draw(held, 0, None)
    assert held.reading == pictures.MOST_DECODING
    held.go.set()
    assert len(set(await asyncio.gather(*waiting))) == 1
