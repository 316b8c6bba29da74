"""Augmentation of whole batches on the device: a pure function of the images and of uniform numbers.

Each image has its own row of numbers in [0, 1), drawn by the caller from the epoch's generator, so its
augmentation is the same on any device and with any number of workers. Whatever depends only on
the numbers is planned for many batches at once: in every step of a small network, launching operations on
so few numbers would cost more than the operations themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from masktune.contract.hyperparameters import Augmentation
from models.types import Size

Plans = tuple[Tensor, ...]
"""Augmentation parameters of N images, as tensors (N, …) that are split alike into batches."""


class Recipe(NamedTuple):
    """`plan(u (N, numbers) in [0, 1), (H, W))` → plans; `apply(images (B, 3, H, W) in 0..1, their plans)`
    → images of the same shape.
    """

    numbers: int
    plan: Callable[[Tensor, Size], Plans]
    apply: Callable[[Tensor, Plans], Tensor]


def augment(name: Augmentation, images: Tensor, plans: Plans) -> Tensor:
    """Apply the plans of recipe `name` to `images` (B, 3, H, W), float in 0..1. Returns channels last."""
    changed = RECIPES[name].apply(images, plans)
    return changed.contiguous(memory_format=torch.channels_last)


def _as_drawn(u: Tensor, size: Size) -> Plans:
    return (u,)


def _flip(images: Tensor, plans: Plans) -> Tensor:
    """Flip left–right with probability 1/2."""
    (u,) = plans
    return torch.where((u[:, 0] < 0.5).view(-1, 1, 1, 1), images.flip(3), images)


def _pad_crop(images: Tensor, plans: Plans) -> Tensor:
    """Pad with black by an eighth of the width, then crop a window of the original size."""
    (u,) = plans
    batch, _, height, width = images.shape
    pad = max(1, width // 8)
    top, left = (u[:, :2] * (2 * pad + 1)).long().unbind(1)  # (B,), 0..2p
    padded = F.pad(images, (pad, pad, pad, pad))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, 3, 2p + 1, 2p + 1, H, W), a view
    return windows[torch.arange(batch, device=images.device), :, top, left]


def _affine(u: Tensor, size: Size) -> Plans:
    """Flip, rotate by up to 15° either way, shift by up to 10 % of the side."""
    angle = (u[:, 1] * 2 - 1) * math.radians(15)
    shift = (u[:, 2:4] * 2 - 1) * 0.2  # the side is 2 in grid coordinates
    cos, sin, mirror = torch.cos(angle), torch.sin(angle), _mirror(u)
    return _grids(
        origin=torch.complex(mirror * shift[:, 0], shift[:, 1]),
        across=torch.complex(mirror * cos, sin),
        down=torch.complex(-mirror * sin, cos),
        size=size,
    )


def _flip_affine(images: Tensor, plans: Plans) -> Tensor:
    """Fill with black.
    Nearest-neighbour sampling, the default of torchvision's RandomAffine, costs half as much as bilinear.
    """
    return _sample(images, plans, mode="nearest", padding="zeros")


def _part(u: Tensor, size: Size, *, smallest: float) -> Plans:
    """Inception's crop, `smallest`..1 of the area at an aspect of 3/4..4/3, and a flip.

    A crop that would exceed the image is narrowed to fit; torchvision draws up to ten times instead.
    """
    flip, u = u[:, :1], u[:, 1:5]
    area = smallest + u[:, 0] * (1 - smallest)
    aspect = torch.exp((u[:, 1] * 2 - 1) * math.log(4 / 3))
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    x = (u[:, 2] * 2 - 1) * (1 - width)  # the centre, in -1..1
    y = (u[:, 3] * 2 - 1) * (1 - height)
    zero = torch.zeros_like(x)
    return _grids(
        origin=torch.complex(x, y),
        across=torch.complex(width * _mirror(flip), zero),
        down=torch.complex(zero, height),
        size=size,
    )


def _crop_flip(images: Tensor, plans: Plans) -> Tensor:
    """Resize the crop to the full image size, bilinearly."""
    return _sample(images, plans, mode="bilinear", padding="border")


def _mirror(u: Tensor) -> Tensor:
    """(N,): -1 for images to be mirrored, by the rule of `_flip`, else 1."""
    return torch.where(u[:, 0] < 0.5, -1.0, 1.0)


def _grids(*, origin: Tensor, across: Tensor, down: Tensor, size: Size) -> Plans:
    """Sampling positions `origin` + c·`across` + r·`down` for output pixels with centres (c, r) in -1..1.

    The arguments are (N,) complex, x + iy, where -1..1 spans the whole side. Returns the first two terms
    of the sum (N, W) and the last one (N, H). Torch's affine_grid gives the same numbers at several times
    the cost.
    """
    columns, rows = _centres(size[1], origin.device), _centres(size[0], origin.device)
    return origin[:, None] + across[:, None] * columns, down[:, None] * rows


def _sample(images: Tensor, plans: Plans, *, mode: str, padding: str) -> Tensor:
    """Sample the images at the positions of `_grids`."""
    top, left = plans
    grid = torch.view_as_real(left.unsqueeze(2) + top.unsqueeze(1))  # (B, H, W, 2)
    return F.grid_sample(images, grid, mode=mode, padding_mode=padding, align_corners=False)


def _centres(side: int, device: torch.device) -> Tensor:
    return (2 * torch.arange(side, device=device, dtype=torch.float32) + 1) / side - 1


def _jittered_part(u: Tensor, size: Size) -> Plans:
    return *_part(u[:, :5], size, smallest=0.08), u[:, 5:]


def _crop_flip_jitter(images: Tensor, plans: Plans) -> Tensor:
    """The Background Challenge's: crop of 8..100 %, flip, colour jitter of 0.1, PCA lighting of 0.05."""
    *part, u = plans  # u: (B, 6)
    images = _crop_flip(images, tuple(part))
    brightness, contrast, saturation = (0.9 + 0.2 * u[:, :3]).view(-1, 3, 1, 1, 1).unbind(1)
    images = (images * brightness).clamp(0, 1)
    mean = _grey(images).mean((1, 2, 3), keepdim=True)
    images = (mean + (images - mean) * contrast).clamp(0, 1)
    grey = _grey(images)
    images = (grey + (images - grey) * saturation).clamp(0, 1)
    return _lighting(images, u[:, 3:])


def _grey(images: Tensor) -> Tensor:
    """Luma (B, 1, H, W), ITU-R BT.601."""
    red, green, blue = images.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)


def _lighting(images: Tensor, u: Tensor) -> Tensor:
    """AlexNet's noise along the principal components of ImageNet's colours (Krizhevsky et al. 2012, 4.1)."""
    values, vectors = _colours_of_imagenet(images.dtype, images.device)
    normal = torch.erfinv((u * 2 - 1).clamp(-0.9999, 0.9999)) * math.sqrt(2)  # (B, 3)
    shift = (normal * 0.05 * values) @ vectors.T  # (B, 3)
    return images + shift.view(-1, 3, 1, 1)


@cache  # copying them to a GPU for every batch would wait for its queue
def _colours_of_imagenet(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Eigenvalues (3,) and eigenvectors (3, 3), in columns, of the covariance of ImageNet's colours."""
    values = torch.tensor([0.2175, 0.0188, 0.0045], dtype=dtype)
    vectors = torch.tensor(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], dtype=dtype
    )
    return values.to(device), vectors.to(device)


RECIPES: dict[Augmentation, Recipe] = {
    "none": Recipe(0, _as_drawn, lambda images, _: images),
    "flip": Recipe(1, _as_drawn, _flip),
    "pad_crop": Recipe(2, _as_drawn, _pad_crop),
    "flip_affine": Recipe(4, _affine, _flip_affine),
    "crop_flip": Recipe(5, partial(_part, smallest=0.7), _crop_flip),
    "crop_flip_jitter": Recipe(11, _jittered_part, _crop_flip_jitter),
}
