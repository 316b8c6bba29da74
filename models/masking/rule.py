"""Which pixels are masked, and how: the paper's threshold on a saliency map, and its ablations.

A map's height at a pixel is its bilinearly upsampled value minus the map's minimum. Masking heights above
mean + 2·std gives exactly the released code's mask, because its two min–max scalings are affine.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from masktune.contract.hyperparameters import Fill
from models.saliency.scale import upsample
from models.types import Size


def heights(maps: Tensor, size: Size) -> Tensor:
    """Maps (B, h, w) at the image's size, each above its own minimum: (B, H, W) float32 ≥ 0."""
    return upsample(maps - maps.amin((1, 2), keepdim=True), size)


def thresholds(raised: Tensor, *, sigmas: float = 2.0, share: float | None = None) -> Tensor:
    """Of `heights` (B, H, W), the one above which a pixel is masked, (B,) float32.

    Mean + `sigmas` · population std of the heights above the lowest one (the paper), or, with
    `share`, the height that at most this share of the pixels exceeds. Infinite, so that nothing is
    masked, for a map that is constant or not finite.
    """
    flat = raised.flatten(1)  # (B, H·W)
    bound = _of_positive(flat, sigmas) if share is None else _of_share(flat, share)
    return torch.where(torch.isfinite(bound), bound, torch.inf)


def _of_positive(flat: Tensor, sigmas: float) -> Tensor:
    """Mean + `sigmas`·std of the heights above the lowest; not finite if the map is flat or not finite."""
    low = flat.amin(1, keepdim=True)
    above = flat - low
    positive = above.sign()  # 1 or 0: floats take half the time of booleans here, and count exactly to 2^24
    count = positive.sum(1)
    mean = above.sum(1) / count  # 0 / 0 where the map is flat
    deviation = positive.mul_(-mean[:, None]).add_(above)
    std = (deviation.square_().sum(1) / count).sqrt()
    return low[:, 0] + mean + sigmas * std


def _of_share(flat: Tensor, share: float) -> Tensor:
    """The height that at most `share` of the pixels exceeds; NaN for a map that is flat or not finite."""
    unmasked = flat.shape[1] - math.floor(share * flat.shape[1])
    low, high = flat.aminmax(dim=1)
    usable = (high > low) & torch.isfinite(high)
    return torch.where(usable, flat.kthvalue(unmasked, dim=1).values, torch.nan)


def count_masked(raised: Tensor, bounds: Tensor) -> Tensor:
    """Number of heights (B, H, W) above their image's bound (B,): (B,) float32, exact up to 2^24."""
    flat = raised.flatten(1)
    return torch.gt(flat, bounds[:, None], out=torch.empty_like(flat)).sum(1)


def masks_of(maps: Tensor, size: Size, *, sigmas: float = 2.0, share: float | None = None) -> Tensor:
    """The masks of maps (B, h, w) by their `thresholds`: (B, H, W) bool, True is masked."""
    raised = heights(maps, size)
    return raised > thresholds(raised, sigmas=sigmas, share=share)[:, None, None]


def threshold_masks(maps: Tensor, bounds: Tensor, size: Size) -> Tensor:
    """True where a map's height is strictly above its bound (B,): (B, H, W) bool, True is masked."""
    return heights(maps, size) > bounds[:, None, None]


def random_masks(counts: Tensor, rows: Tensor, size: Size, *, seed: int) -> Tensor:
    """`counts` (B,) pixels of each image at random places, (B, H, W) bool.

    The places depend only on (seed, row), never on the batch or the device.
    """
    height, width = size
    device = counts.device
    pixels = torch.arange(height * width, device=device)
    start = _mix(rows.to(device, non_blocking=True) ^ _mix(torch.full((), seed, device=device)))
    keys = _mix(start[:, None] + pixels)  # distinct within an image: the mixing is one to one
    order = keys.sort(1).values
    last = order.gather(1, (counts.long() - 1).clamp_min(0)[:, None])
    chosen = (keys <= last) & (counts > 0)[:, None]
    return chosen.reshape(-1, height, width)


def seed_of_set(seed: int, iteration: int) -> int:
    """The seed for the random places of iteration 0, 1, …; for the first one, the run's own seed.

    With a single seed, a smaller count's places are a subset of a larger one's, so a union adds nothing.
    """
    if iteration == 0:
        return seed
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _mix(x: Tensor) -> Tensor:
    """The finalizer of splitmix64 on int64 (Steele et al. 2014): a bijection that looks random."""
    x = x + -7046029254386353131
    x = (x ^ _shift(x, 30)) * -4658895280553007687
    x = (x ^ _shift(x, 27)) * -7723592293110705685
    return x ^ _shift(x, 31)


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical right shift: torch's own is arithmetic on int64."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def apply_masks(images: Tensor, masked: Tensor, fill: Fill = "black") -> Tensor:
    """Images (B, 3, H, W) in 0..1 with the pixels of `masked` (B, H, W) bool replaced; a new tensor.

    `black` is exactly 0 before any normalisation (the paper), `mean` the image's own mean colour,
    `blur` the image blurred with a Gaussian whose sigma is a tenth of its shorter side.
    """
    return torch.where(masked[:, None], _FILLS[fill](images), images)


def fill_pixels(pixels: Tensor, masked: Tensor, fill: Fill) -> Tensor:
    """`apply_masks` for uint8 images (B, 3, H, W), to be looked at."""
    return (apply_masks(pixels.float() / 255, masked, fill) * 255).round().to(torch.uint8)


def _blur(images: Tensor) -> Tensor:
    side = min(images.shape[-2:])
    radius = min(side - 1, round(0.3 * side))  # three sigmas; reflection padding must be less than a side
    places = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (places / (0.1 * side)) ** 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    channels = images.shape[1]
    padded = functional.pad(images, (radius,) * 4, mode="reflect")
    across = functional.conv2d(padded, kernel, groups=channels)
    return functional.conv2d(across, kernel.mT, groups=channels)


_FILLS: dict[Fill, Callable[[Tensor], Tensor]] = {
    "black": lambda images: images.new_zeros(()),
    "mean": lambda images: images.mean((2, 3), keepdim=True),
    "blur": _blur,
}
