"""Maps on the scale of the grad-cam package, to compare ours with its own."""

from __future__ import annotations

from torch import Tensor

from models.saliency.scale import upsample

_EPS = 1e-7  # the package's, in its min–max


def to_library_scale(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale maps (B, h, w) as the grad-cam package does: (B, H, W) float32 in 0..1.

    Min–max, upsampling, min–max again, each with the 1e-7. A constant map becomes 0 everywhere.
    """
    return _min_max(upsample(_min_max(maps), size))


def _min_max(maps: Tensor) -> Tensor:
    raised = maps - maps.amin((1, 2), keepdim=True)
    return raised / (_EPS + raised.amax((1, 2), keepdim=True))
