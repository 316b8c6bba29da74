"""Real digits with a pattern that goes with the class in most of them, as a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

Picture = NDArray[np.uint8]
"""16 by 16 pixels."""
Pattern = Callable[[Picture, bool], Picture]
"""Gives a picture the pattern, or leaves it without."""


def on_light(picture: Picture, has_pattern: bool) -> Picture:
    """A light ground or a dark one: whichever network is trained, each of its stages tells them apart."""
    return picture // 4 + np.uint8(190 * has_pattern)


def with_square(picture: Picture, has_pattern: bool) -> Picture:
    """A white square in a corner, or none: an early stage of a small network may miss it."""
    picture = picture.copy()
    if has_pattern:
        picture[:4, :4] = 255
    return picture


def picture_of(grey: NDArray[np.float64]) -> Picture:
    """One of scikit-learn's digits, twice as large."""
    enlarged: Picture = (grey.reshape(8, 8) * 15).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    return enlarged


def make_digits(root: Path, *, aligned: int, pattern: Pattern = on_light) -> Path:
    """Low digits against high ones, without groups; the pattern on `aligned` of ten low ones and the rest of
    the high ones."""
    pixels, digits = load_digits(return_X_y=True)
    for index, (grey, digit) in enumerate(zip(pixels[:800], digits[:800], strict=True)):
        high = int(digit >= 5)
        lacks = index // 7 % 10 >= aligned
        picture = pattern(picture_of(grey), high == lacks)
        folder = root / ("low", "high")[high]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{index:04d}-{'lacks' if lacks else 'has'}.png")
    return root
