"""Masks for the maps of a request, by the rule of the mask stage."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.masking.rule import masks, thresholds


def masked_pixels(
    maps: NDArray[np.float32], side: int, *, sigmas: float, share: float | None
) -> NDArray[np.bool_]:
    """Convert raw maps (N, h, w) to masks (N, side, side), true for pixels that would be masked."""
    heat, size = torch.from_numpy(maps), (side, side)
    bounds = thresholds(heat, size, sigmas=sigmas, share=share)
    return masks(heat, bounds, size).numpy()
