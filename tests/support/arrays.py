"""Packed data sets from images in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.data.columns import write_columns
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter, encode_png
from models.data.store import Store


class Arrays(NamedTuple):
    """A data set in memory: images (N, H, W, 3) uint8 RGB, labels (N,), split names, groups (N,) or None."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: Sequence[str]
    groups: NDArray[np.int64] | None = None


def write_arrays(
    directory: Path | str,
    arrays: Arrays,
    info: DatasetInfo,
    *,
    subjects: Sequence[str | None] = (),
    metadata: Mapping[str, Sequence[str]] | None = None,
) -> Store:
    """Pack images that are already in memory, each as a PNG file named by its number, and open the store."""
    groups = np.full(len(arrays.labels), -1) if arrays.groups is None else arrays.groups
    height, width = arrays.images.shape[1:3]
    with StoreWriter(directory) as writer:
        for index, image in enumerate(arrays.images):
            label, group = int(arrays.labels[index]), int(groups[index])
            path = f"{arrays.splits[index]}/{index:06d}.png"
            writer.add(
                Row(
                    path,
                    label,
                    arrays.splits[index],
                    group,
                    width,
                    height,
                    _png(image.shape, image.tobytes()),
                )
            )
            writer.pixels.add(image)
        write_columns(writer.folder, subjects or [None] * len(arrays.labels), metadata or {})
        writer.finish(info)
    return Store.open(directory)


@lru_cache(maxsize=1 << 12)
def _png(shape: tuple[int, ...], pixels: bytes) -> bytes:
    """To encode an image takes longer than to store it, and many tests store the same ones."""
    return encode_png(np.frombuffer(pixels, np.uint8).reshape(shape))
