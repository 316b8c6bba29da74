"""16-bit grey images as 8-bit ones: which of their levels become 0 to 255.

Few 16-bit images use all of their levels: a 12-bit detector uses 4,096 of the 65,536. The window is therefore
measured on the training images of a data set, recorded with it and with its models, and applied alike
wherever an image is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVELS = 1 << 16
TAIL = 0.001
"""The share of the pixels that may lie below the window, and above it: noise and burnt-in text."""


class GreyWindow(NamedTuple):
    """A level v becomes 255·(v - low)/(high - low), rounded and clipped. 0 ≤ low < high < 65,536."""

    low: int
    high: int


class WindowChoice(NamedTuple):
    """The window of a data set's 16-bit images, None for their upper 8 bits; and why, for its owner."""

    window: GreyWindow | None
    reason: str


def to_8_bit(levels: NDArray[np.uint16], window: GreyWindow | None) -> NDArray[np.uint8]:
    """Levels of any shape as 8-bit ones; without a window, their upper 8 bits."""
    if window is None:
        return (levels >> 8).astype(np.uint8)
    return _table(window)[levels]


@lru_cache(maxsize=64)
def _table(window: GreyWindow) -> NDArray[np.uint8]:
    """(65536,): the 8-bit level of each 16-bit one."""
    share = ((np.arange(LEVELS) - window.low) / (window.high - window.low)).clip(0, 1)
    return np.asarray(np.rint(255 * share), np.uint8)


def histogram(levels: NDArray[np.uint16]) -> NDArray[np.int64]:
    """(65536,): the number of pixels of each level."""
    return np.bincount(levels.ravel(), minlength=LEVELS)


def window_of(counts: NDArray[np.int64]) -> GreyWindow:
    """The window from the 0.1 % to the 99.9 % percentile of a histogram (65536,) of at least one pixel."""
    below = np.cumsum(counts)
    low, high = np.searchsorted(below, [TAIL * below[-1], (1 - TAIL) * below[-1]]).tolist()
    if low == high:  # all pixels are equal: any window tells them from others
        low, high = (low, low + 1) if low + 1 < LEVELS else (low - 1, low)
    return GreyWindow(low, high)


def middle_window(windows: Sequence[GreyWindow]) -> GreyWindow:
    """The median of the low levels and that of the high ones, of at least one window."""
    low, high = np.median(windows, 0).astype(int).tolist()
    return GreyWindow(low, high)


def read_window(record: object) -> GreyWindow | None:
    """A window that was written as JSON; None for null. Raises ValueError for anything else."""
    if record is None:
        return None
    match record:
        case [int() as low, int() as high] if 0 <= low < high < LEVELS:
            return GreyWindow(low, high)
    raise ValueError(f"{record!r} is not a window of 16-bit levels")
