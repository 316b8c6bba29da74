"""Array types that several packages share. Shapes are in the docstrings of what uses them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
"""Classes, predictions, groups or row numbers."""
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
Maps = NDArray[np.float32]
"""Saliency maps (N, h, w) ≥ 0, as stored in a mask set."""
Rgb = tuple[float, float, float]
"""One number for each channel."""
Size = tuple[int, int]
"""Height and width of an image, in pixels."""
