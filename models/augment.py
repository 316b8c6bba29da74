"""Augmentation of whole batches on the device: a pure function of the images and of uniform numbers.

Each image takes its own row of numbers in [0, 1), drawn by the caller from the epoch's generator,
so an image is changed alike on any device, with any number of workers or ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import Augmentation

_Apply = Callable[[Tensor, Tensor], Tensor]


class Recipe(NamedTuple):
    """`apply(images (B, 3, H, W) in 0..1, u (B, numbers) in [0, 1))` → images of the same shape."""

    numbers: int
    apply: _Apply


def augment(name: Augmentation, images: Tensor, u: Tensor) -> Tensor:
    """`images` (B, 3, H, W), float in 0..1, changed by `u` (B, RECIPES[name].numbers); channels last."""
    changed = RECIPES[name].apply(images, u)
    return changed.contiguous(memory_format=torch.channels_last)


def _none(images: Tensor, _: Tensor) -> Tensor:
    return images


def _flip(images: Tensor, u: Tensor) -> Tensor:
    """Left–right, one image in two."""
    return torch.where((u[:, 0] < 0.5).view(-1, 1, 1, 1), images.flip(3), images)


def _pad_crop(images: Tensor, u: Tensor) -> Tensor:
    """A window of the image's size, out of the image with an eighth of its side of black around it."""
    batch, _, height, width = images.shape
    pad = max(1, width // 8)
    padded = F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)  # (B, H + 2p, W + 2p, 3)
    top, left = (u[:, :2] * (2 * pad + 1)).long().unbind(1)  # (B,), 0..2p
    rows = top.view(-1, 1) + torch.arange(height, device=images.device)  # (B, H)
    columns = left.view(-1, 1) + torch.arange(width, device=images.device)  # (B, W)
    each = torch.arange(batch, device=images.device).view(-1, 1, 1)
    return padded[each, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def _flip_affine(images: Tensor, u: Tensor) -> Tensor:
    """Flip, turn by up to 15° either way, shift by up to 10 % of the side; black comes in."""
    angle = (u[:, 1] * 2 - 1) * math.radians(15)
    shift = (u[:, 2:4] * 2 - 1) * 0.2  # the side is 2 in grid coordinates
    cos, sin = torch.cos(angle), torch.sin(angle)
    first = torch.stack([cos, -sin, shift[:, 0]], 1)
    second = torch.stack([sin, cos, shift[:, 1]], 1)
    return _sample(_flip(images, u), torch.stack([first, second], 1), padding="zeros")


def _resized_crop(images: Tensor, u: Tensor, *, smallest: float) -> Tensor:
    """A part of `smallest`..1 of the area, of aspect 3/4..4/3, stretched over the whole: Inception's crop.

    Where the part would stick out it is narrowed to fit, in place of torchvision's ten tries.
    """
    area = smallest + u[:, 0] * (1 - smallest)
    aspect = torch.exp((u[:, 1] * 2 - 1) * math.log(4 / 3))
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    x = (u[:, 2] * 2 - 1) * (1 - width)  # the centre, in -1..1
    y = (u[:, 3] * 2 - 1) * (1 - height)
    zero = torch.zeros_like(x)
    first = torch.stack([width, zero, x], 1)
    second = torch.stack([zero, height, y], 1)
    return _sample(images, torch.stack([first, second], 1), padding="border")


def _sample(images: Tensor, theta: Tensor, *, padding: str) -> Tensor:
    """Bilinear samples at the affine map `theta` (B, 2, 3) of the output grid."""
    grid = F.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _crop_flip(images: Tensor, u: Tensor) -> Tensor:
    return _flip(_resized_crop(images, u[:, 1:5], smallest=0.7), u)


def _crop_flip_jitter(images: Tensor, u: Tensor) -> Tensor:
    """The Background Challenge's: crop of 8 %..1, flip, colour jitter of 0.1, PCA lighting of 0.05."""
    images = _flip(_resized_crop(images, u[:, 1:5], smallest=0.08), u)
    brightness, contrast, saturation = (0.9 + 0.2 * u[:, 5:8]).view(-1, 3, 1, 1, 1).unbind(1)
    images = (images * brightness).clamp(0, 1)
    mean = _grey(images).mean((1, 2, 3), keepdim=True)
    images = (mean + (images - mean) * contrast).clamp(0, 1)
    grey = _grey(images)
    images = (grey + (images - grey) * saturation).clamp(0, 1)
    return _lighting(images, u[:, 8:11])


def _grey(images: Tensor) -> Tensor:
    """Luma (B, 1, H, W), ITU-R BT.601."""
    red, green, blue = images.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)


def _lighting(images: Tensor, u: Tensor) -> Tensor:
    """AlexNet's: noise along the principal colours of ImageNet (Krizhevsky et al. 2012, 4.1)."""
    values = images.new_tensor([0.2175, 0.0188, 0.0045])
    vectors = images.new_tensor(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    normal = torch.erfinv((u * 2 - 1).clamp(-0.9999, 0.9999)) * math.sqrt(2)  # (B, 3)
    shift = (normal * 0.05 * values) @ vectors.T  # (B, 3)
    return images + shift.view(-1, 3, 1, 1)


RECIPES: dict[Augmentation, Recipe] = {
    "none": Recipe(0, _none),
    "flip": Recipe(1, _flip),
    "pad_crop": Recipe(2, _pad_crop),
    "flip_affine": Recipe(4, _flip_affine),
    "crop_flip": Recipe(5, _crop_flip),
    "crop_flip_jitter": Recipe(11, _crop_flip_jitter),
}
