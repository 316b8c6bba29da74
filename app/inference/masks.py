"""The masks of maps that were computed for a request, by the rule of the masking stage."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.mask_rule import masks, thresholds


def masked_pixels(
    maps: NDArray[np.float32], side: int, *, sigmas: float, share: float | None
) -> NDArray[np.bool_]:
    """(N, h, w) raw maps → (N, side, side), true where a pixel would be masked."""
    heat, size = torch.from_numpy(maps), (side, side)
    bounds = thresholds(heat, size, sigmas=sigmas, share=share)
    return masks(heat, bounds, size).numpy()
