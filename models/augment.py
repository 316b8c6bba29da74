"""Augmentation of whole batches on the device: a pure function of the images and of uniform numbers.

Each image takes its own row of numbers in [0, 1), drawn by the caller from the epoch's generator,
so an image is changed alike on any device, with any number of workers or ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
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
    top, left = (u[:, :2] * (2 * pad + 1)).long().unbind(1)  # (B,), 0..2p
    padded = F.pad(images, (pad, pad, pad, pad))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, 3, 2p + 1, 2p + 1, H, W), a view
    return windows[torch.arange(batch, device=images.device), :, top, left]


def _flip_affine(images: Tensor, u: Tensor) -> Tensor:
    """Flip, turn by up to 15° either way, shift by up to 10 % of the side; black comes in.

    Each pixel is the nearest one's, as torchvision's RandomAffine does it: half the cost of bilinear.
    """
    angle = (u[:, 1] * 2 - 1) * math.radians(15)
    shift = (u[:, 2:4] * 2 - 1) * 0.2  # the side is 2 in grid coordinates
    cos, sin, mirror = torch.cos(angle), torch.sin(angle), _mirror(u)
    across = torch.stack([mirror * cos, sin], 1)  # (B, 2): what a step to the right adds to x and y
    down = torch.stack([-mirror * sin, cos], 1)
    origin = torch.stack([mirror * shift[:, 0], shift[:, 1]], 1)
    return _sample(images, _Affine(across, down, origin), mode="nearest", padding="zeros")


def _resized_crop_flip(images: Tensor, u: Tensor, *, smallest: float) -> Tensor:
    """A part of `smallest`..1 of the area, of aspect 3/4..4/3, stretched over the whole: Inception's crop.

    Where the part would stick out it is narrowed to fit, in place of torchvision's ten tries. Then a flip.
    """
    flip, u = u[:, :1], u[:, 1:5]
    area = smallest + u[:, 0] * (1 - smallest)
    aspect = torch.exp((u[:, 1] * 2 - 1) * math.log(4 / 3))
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    x = (u[:, 2] * 2 - 1) * (1 - width)  # the centre, in -1..1
    y = (u[:, 3] * 2 - 1) * (1 - height)
    zero = torch.zeros_like(x)
    across, down = torch.stack([width * _mirror(flip), zero], 1), torch.stack([zero, height], 1)
    part = _Affine(across, down, torch.stack([x, y], 1))
    return _sample(images, part, mode="bilinear", padding="border")


def _mirror(u: Tensor) -> Tensor:
    """-1 for the images that `_flip` mirrors, else 1: (B,)."""
    return torch.where(u[:, 0] < 0.5, -1.0, 1.0)


class _Affine(NamedTuple):
    """Where an output's pixels lie in its image, each (B, 2) of x and y; -1..1 is the whole side."""

    across: Tensor
    down: Tensor
    origin: Tensor


def _sample(images: Tensor, to: _Affine, *, mode: str, padding: str) -> Tensor:
    """The images at `origin` + c·`across` + r·`down`, c and r the output's pixel centres in -1..1.

    Torch's affine_grid gives the same numbers at several times the cost; x and y apart are faster still.
    """
    columns, rows = (_centres(side, images) for side in (images.shape[3], images.shape[2]))
    top = to.origin.unsqueeze(2) + to.across.unsqueeze(2) * columns  # (B, 2, W)
    left = to.down.unsqueeze(2) * rows  # (B, 2, H)
    x, y = (left.unsqueeze(3) + top.unsqueeze(2)).unbind(1)  # (B, H, W)
    grid = torch.stack([x, y], 3)
    return F.grid_sample(images, grid, mode=mode, padding_mode=padding, align_corners=False)


def _centres(side: int, like: Tensor) -> Tensor:
    return (2 * torch.arange(side, device=like.device, dtype=like.dtype) + 1) / side - 1


def _crop_flip(images: Tensor, u: Tensor) -> Tensor:
    return _resized_crop_flip(images, u, smallest=0.7)


def _crop_flip_jitter(images: Tensor, u: Tensor) -> Tensor:
    """The Background Challenge's: crop of 8 %..1, flip, colour jitter of 0.1, PCA lighting of 0.05."""
    images = _resized_crop_flip(images, u, smallest=0.08)
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
    values, vectors = _colours_of_imagenet(images.dtype, images.device)
    normal = torch.erfinv((u * 2 - 1).clamp(-0.9999, 0.9999)) * math.sqrt(2)  # (B, 3)
    shift = (normal * 0.05 * values) @ vectors.T  # (B, 3)
    return images + shift.view(-1, 3, 1, 1)


@cache  # to bring them to a card at every batch would wait for it
def _colours_of_imagenet(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Eigenvalues (3,) and eigenvectors (3, 3), in columns, of the covariance of ImageNet's colours."""
    values = torch.tensor([0.2175, 0.0188, 0.0045], dtype=dtype)
    vectors = torch.tensor(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], dtype=dtype
    )
    return values.to(device), vectors.to(device)


RECIPES: dict[Augmentation, Recipe] = {
    "none": Recipe(0, _none),
    "flip": Recipe(1, _flip),
    "pad_crop": Recipe(2, _pad_crop),
    "flip_affine": Recipe(4, _flip_affine),
    "crop_flip": Recipe(5, _crop_flip),
    "crop_flip_jitter": Recipe(11, _crop_flip_jitter),
}
