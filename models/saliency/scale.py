"""Upsample a low-resolution map to the image's size, by the one rule that masks, overlays and tests share."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def _taps(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each target position: its two source positions and the weight of the second."""
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    centre = centre.float()
    left = centre.floor()
    share = centre - left
    # Beyond the outer centres the border is repeated exactly (weights 1 and 0), so that a border at
    # the minimum stays at the minimum: the test `u > min(u)` allows no rounding.
    inside = (left >= 0) & (left < source - 1)
    share = torch.where(inside, share, 0.0)
    left = left.clamp(0, source - 1).long()
    right = (left + 1).clamp_max(source - 1)
    return left.to(device), right.to(device), share.to(device)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, half-pixel centres (`align_corners=False`), (B, h, w) → (B, H, W) float32.

    Computed element by element, in OpenCV's order of operations: an image's result does not depend on
    the batch, and zeros stay exactly zero.
    """
    device = maps.device
    left, right, share = _taps(maps.shape[2], size[1], device)
    rows = _between(maps.index_select(2, left), maps.index_select(2, right), share)  # (B, h, W)
    top, bottom, share = _taps(maps.shape[1], size[0], device)
    return _between(rows.index_select(1, top), rows.index_select(1, bottom), share[:, None])


def _between(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """`first` · (1 − share) + `second` · share, overwriting both: halves the time of large maps."""
    return first.mul_(1 - share).add_(second.mul_(share))
