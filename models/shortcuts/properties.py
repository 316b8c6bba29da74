"""Simple properties of images, measured without a network: brightness, borders, corners, the file itself.

`models.shortcuts` asks which of them predicts the label.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.grey import GreyWindow
from models.data.images.checks import decode_image
from models.data.images.image_types import MEDIA_TYPES, image_type
from models.data.images.limits import STORED
from models.data.images.orientation import upright
from models.data.store import Store
from models.types import Floats32, Labels

SIDE = 64  # pixels; the side of the square that a large image is reduced to
MAX_SOURCE_PIXELS = 1_200_000_000  # decoded in total at most: 5,000 images of 500×375, with a margin
MIN_IMAGES = 500  # measured however large they are
MAX_IMAGES = 5000  # measured by default
METADATA = "metadata"
"""Where a property is that no pixel and no file has."""
_CHUNK = 256
_TYPES = tuple(MEDIA_TYPES)
# What PIL raises for a broken EXIF block; `decode_image` then decides, as everywhere else.
_BROKEN_EXIF = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error)


class Property(NamedTuple):
    """A few numbers that describe one property.
    `phrase` completes "… alone tells a from b".

    With `categories`, there is one feature: the number of a category, from 0 and below `categories`.
    """

    name: str
    where: str
    phrase: str
    features: tuple[str, ...]
    categories: int = 0


@dataclass(frozen=True)
class PropertyTable:
    """`values` (N, D) float32 of the samples `rows` (N,); each property owns some columns, in order.

    `notes` say which columns of metadata are not among the properties, and why.
    """

    rows: Labels
    properties: tuple[Property, ...]
    values: Floats32
    notes: tuple[str, ...] = ()

    def of(self, rows: Labels) -> Self:
        """The table of these `rows`, in their order, all of which it has."""
        order = np.argsort(self.rows)
        places = order[np.searchsorted(self.rows, rows, sorter=order)]
        return replace(self, rows=rows, values=self.values[places])

    def columns(self) -> Iterator[tuple[Property, Floats32]]:
        """Each property with its own columns (N, d)."""
        start = 0
        for measured in self.properties:
            stop = start + len(measured.features)
            yield measured, self.values[:, start:stop]
            start = stop


def simple_properties(
    store: Store,
    rows: Labels,
    *,
    limit: int = MAX_IMAGES,
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> PropertyTable:
    """Measure the first `limit` of `rows`, which the caller has shuffled.
    Takes a few milliseconds per image.

    With large images it stops at `MAX_SOURCE_PIXELS`, but not before `MIN_IMAGES`. Images are decoded in
    threads, because PIL releases the GIL. `on_progress` is called with (done, total) from time to time; an
    exception that it raises ends the measuring. Raises ValueError without a row.
    """
    if len(rows) == 0:
        raise ValueError("there is no sample to measure")
    chosen = rows[: _affordable(store, rows[:limit])]
    chunks = [chosen[i : i + _CHUNK] for i in range(0, len(chosen), _CHUNK)]
    measured: list[Floats32] = []
    pool = ThreadPoolExecutor(threads)
    try:
        for number, values in enumerate(pool.map(partial(_measure, store), chunks), 1):
            measured.append(values)
            if on_progress is not None:
                on_progress(min(number * _CHUNK, len(chosen)), len(chosen))
    finally:
        pool.shutdown(cancel_futures=True)
    return PropertyTable(chosen, _PROPERTIES, np.concatenate(measured))


def _affordable(store: Store, rows: Labels) -> int:
    if store.pixels is not None:
        return len(rows)
    cost = np.cumsum(store.sizes[rows].prod(1))
    return max(min(MIN_IMAGES, len(rows)), int(np.searchsorted(cost, MAX_SOURCE_PIXELS, side="right")))


def _measure(store: Store, rows: Labels) -> Floats32:
    """Features (B, D): first of the pixels, then of the files."""
    files = [store.image_bytes(row) for row in rows.tolist()]
    window, pixels = store.info.grey_window, store.pixels
    pixels = np.stack([_reduced(file, window) for file in files]) if pixels is None else pixels[rows]
    sizes = store.sizes[rows].astype(np.float32)  # (B, 2): width, height
    lengths = np.array([len(file) for file in files], np.float32)
    kinds = [image_type(file) for file in files]
    codes = np.array([_TYPES.index(kind) if kind else -1 for kind in kinds], np.float32)
    of_files = (
        np.stack([sizes[:, 0], sizes[:, 1], sizes[:, 0] / sizes[:, 1]], 1),
        np.stack([lengths, lengths / sizes.prod(1)], 1),
        codes[:, None],
    )
    return np.concatenate([*_of_pixels(pixels), *of_files], 1)


def _reduced(encoded: bytes, window: GreyWindow | None) -> NDArray[np.uint8]:
    """The whole image, upright, as (SIDE, SIDE, 3) RGB. A JPEG is decoded at a fraction of its size."""
    picture = _drafted(encoded) if image_type(encoded) == "JPEG" else None
    if picture is None:
        picture = decode_image(encoded, STORED, window).image
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def _drafted(encoded: bytes) -> Image.Image | None:
    try:
        with Image.open(BytesIO(encoded), formats=["JPEG"]) as image:
            image.draft("RGB", (SIDE, SIDE))  # gives at least this size: libjpeg halves up to three times
            return upright(image).convert("RGB")
    except _BROKEN_EXIF:
        return None


def _of_pixels(pixels: NDArray[np.uint8]) -> Iterator[Floats32]:
    """The columns of each property of the pixels (B, d), in order, of images (B, H, W, 3)."""
    rgb = pixels.astype(np.float32)
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)  # (B, H, W), as the planes below
    steps = np.zeros_like(luma)  # |difference| to the right and downward neighbours
    steps[:, :, :-1] += np.abs(np.diff(luma, axis=2))
    steps[:, :-1] += np.abs(np.diff(luma, axis=1))
    red, green, blue = np.moveaxis(rgb, -1, 0)
    opponents = red - green, (red + green) / 2 - blue  # Hasler and Süsstrunk 2003
    high, low = rgb.max(-1), rgb.min(-1)
    saturation = (high - low) / np.maximum(high, 1)
    dark, bright = ((luma < 16).mean((1, 2), dtype=np.float32), (luma > 239).mean((1, 2), dtype=np.float32))
    yield luma.mean((1, 2))[:, None]
    yield np.stack([luma.std((1, 2)), dark, bright], 1)
    yield np.stack([opponent.mean((1, 2)) for opponent in opponents], 1)
    yield np.stack([plane.std((1, 2)) for plane in opponents] + [saturation.mean((1, 2))], 1)
    yield np.stack([steps.mean((1, 2)), steps.max((1, 2))], 1)
    height, width = luma.shape[1:]
    for region in _REGIONS.values():  # their steps, because text, rulers and frames are edges
        place = (slice(None), region.rows(height), region.columns(width))
        yield np.concatenate([rgb[place].mean((1, 2)), steps[place].mean((1, 2))[:, None]], 1)


Span = Callable[[int], slice]
"""The length of an image's side → a part of that side."""


class Region(NamedTuple):
    rows: Span
    columns: Span


def _whole(side: int) -> slice:
    return slice(0, side)


def _middle(side: int) -> slice:
    return slice(side // 4, side - side // 4)


def _first(share: float) -> Span:
    return lambda side: slice(0, max(1, round(side * share)))


def _last(share: float) -> Span:
    return lambda side: slice(side - max(1, round(side * share)), side)


_EDGE, _CORNER = 1 / 16, 1 / 8  # of the side
_REGIONS: dict[str, Region] = {
    "top edge": Region(_first(_EDGE), _whole),
    "bottom edge": Region(_last(_EDGE), _whole),
    "left edge": Region(_whole, _first(_EDGE)),
    "right edge": Region(_whole, _last(_EDGE)),
    "top-left corner": Region(_first(_CORNER), _first(_CORNER)),
    "top-right corner": Region(_first(_CORNER), _last(_CORNER)),
    "bottom-left corner": Region(_last(_CORNER), _first(_CORNER)),
    "bottom-right corner": Region(_last(_CORNER), _last(_CORNER)),
    "centre": Region(_middle, _middle),
}


def _properties(regions: Sequence[str]) -> tuple[Property, ...]:
    """All properties, in the order of `_measure`'s columns."""
    whole, file = "whole image", "file"
    look = ("red", "green", "blue", "edges")
    return (
        Property("brightness", whole, "the brightness of the image", ("mean",)),
        Property("contrast", whole, "the contrast of the image", ("spread", "dark share", "bright share")),
        Property("colour", whole, "the mean colour of the image", ("red–green", "yellow–blue")),
        Property(
            "colourfulness",
            whole,
            "the colourfulness of the image",
            ("red–green", "yellow–blue", "saturation"),
        ),
        Property("sharpness", whole, "the sharpness of the image", ("mean edge", "hardest edge")),
        *(Property(region, region, f"the look of the {region}", look) for region in regions),
        Property("image size", file, "the size of the image", ("width", "height", "aspect ratio")),
        Property("file size", file, "the size of the file", ("bytes", "bytes per pixel")),
        Property("file type", file, "the type of the file", ("type",)),
    )


_PROPERTIES = _properties(tuple(_REGIONS))
