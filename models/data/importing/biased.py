"""Paint a shortcut onto images of any two classes, as the paper does for Biased MNIST."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from masktune.contract.hyperparameters import BiasAssignment, BiasKind

Images = NDArray[np.uint8]

SQUARE = 4  # pixels
RED = np.array([255, 0, 0], dtype=np.uint8)
BLUE = np.array([0, 0, 255], dtype=np.uint8)


class BiasedImages(NamedTuple):
    """Images (N, H, W, 3) uint8 with the shortcut painted on those of `painted` (N,) bool."""

    images: Images
    painted: NDArray[np.bool_]


def _square(images: Images) -> Images:
    """A red square of 4×4 pixels in the upper left corner."""
    painted = images.copy()
    painted[:, :SQUARE, :SQUARE] = RED
    return painted


def _two_squares(images: Images) -> Images:
    """The red square, and a blue one in the upper right corner."""
    painted = _square(images)
    painted[:, :SQUARE, -SQUARE:] = BLUE
    return painted


def _background(images: Images) -> Images:
    """Every black pixel turns red; the digit is unchanged."""
    return np.where((images == 0).all(-1, keepdims=True), RED, images)


def _foreground(images: Images) -> Images:
    """Every pixel that is not black, however faint, turns red: the digit loses its shades of grey."""
    return np.where((images > 0).any(-1, keepdims=True), RED, images)


KIND_NAMES: Mapping[BiasKind, str] = {
    "square": "square",
    "two_squares": "two squares",
    "background": "red background",
    "foreground": "red digit",
}

# A kind of shortcut is a function from images (N, H, W, 3) to images of the same shape.
PAINTERS: Mapping[BiasKind, Callable[[Images], Images]] = {
    "square": _square,
    "two_squares": _two_squares,
    "background": _background,
    "foreground": _foreground,
}


def bias_images(
    images: Images,
    labels: NDArray[np.integer[Any]],
    *,
    kind: BiasKind = "square",
    ratio: float = 0.99,
    assignment: BiasAssignment = "random",
    rng: np.random.Generator,
) -> BiasedImages:
    """Paint `kind` on the share `ratio` of class 0 and on 1 − `ratio` of class 1; the counts are exact.

    `images` (N, H, W, 3) uint8, `labels` (N,) 0 or 1. `random` draws the images from `rng`;
    `order` takes the first ones of each class, so sort by digit to get the paper's released set,
    whose conflicting images are all 4s and 5s. `ratio` 0 makes the test set, with the shortcut on
    the wrong class. Raises ValueError for arguments outside these.
    """
    if kind not in PAINTERS or assignment not in get_args(BiasAssignment):
        raise ValueError(f"kind must be one of {', '.join(PAINTERS)}, assignment order or random")
    if not 0 <= ratio <= 1 or not np.isin(labels, (0, 1)).all():
        raise ValueError("ratio must be in [0, 1] and labels 0 or 1")
    painted = np.zeros(len(labels), dtype=bool)
    for label, share in ((0, ratio), (1, 1 - ratio)):
        rows = np.flatnonzero(np.asarray(labels) == label)
        if assignment == "random":
            rows = rng.permutation(rows)
        painted[rows[: round(share * len(rows))]] = True
    biased = images.copy()
    biased[painted] = PAINTERS[kind](images[painted])
    return BiasedImages(biased, painted)
