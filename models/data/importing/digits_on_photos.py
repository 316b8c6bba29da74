"""Draw handwritten digits over crops of photographs, so that the background can be a shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]

SIDE = 128  # pixels
_DIGIT = 116  # pixels with its margin: large, for frozen features see a digit badly
_MARGIN = 1  # cells around the stroke, so that its outline closes
_OUTLINE, _INK = (0.2, 0.3), (0.6, 0.75)
"""Strengths of the enlarged stroke between which black, then white, goes from clear to opaque."""


def draw_on_photographs(
    strokes: NDArray[np.float64],
    photographs: Sequence[Images],
    places: NDArray[np.integer[Any]],
    rng: np.random.Generator,
) -> Images:
    """Images (N, SIDE, SIDE, 3) of `strokes` (N, h, w) in 0..1, white with a black outline.

    The background of each is a random crop of `photographs[places[i]]` (H, W, 3), flipped in half of them;
    the digit stands at a random place, wholly inside.
    """
    images = np.empty((len(strokes), SIDE, SIDE, 3), np.uint8)
    for image, stroke, place in zip(images, strokes, places.tolist(), strict=True):
        image[:] = _drawn(stroke, _crop(photographs[place], rng), rng)
    return images


def _crop(photograph: Images, rng: np.random.Generator) -> Images:
    height, width = photograph.shape[:2]
    top, left = rng.integers(height - SIDE + 1), rng.integers(width - SIDE + 1)
    crop = photograph[top : top + SIDE, left : left + SIDE]
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _drawn(stroke: NDArray[np.float64], background: Images, rng: np.random.Generator) -> NDArray[np.float64]:
    small = Image.fromarray(np.pad(stroke, _MARGIN).astype(np.float32))
    enlarged = small.resize((_DIGIT, _DIGIT), Image.Resampling.BICUBIC)
    top, left = rng.integers(SIDE - _DIGIT + 1, size=2)
    strength = np.zeros((SIDE, SIDE, 1))
    strength[top : top + _DIGIT, left : left + _DIGIT, 0] = np.asarray(enlarged)
    outlined = background * (1 - np.interp(strength, _OUTLINE, (0, 1)))
    ink = np.interp(strength, _INK, (0, 1))
    return np.round(outlined * (1 - ink) + 255 * ink)
