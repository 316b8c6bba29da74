"""Turn an image into the square that a network sees: one geometry for training, masks and serving."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from masktune.contract.hyperparameters import Crop
from models.data.grey import GreyWindow
from models.data.images.checks import decode_image
from models.data.images.limits import STORED


def stored_square(encoded: bytes, size: int, crop: Crop = "none", window: GreyWindow | None = None) -> Tensor:
    """An image of a packed store, with its window, as (3, size, size) uint8 RGB. Raises `ImageError`."""
    return square(decode_image(encoded, STORED, window).image, size, crop)


def square(picture: Image.Image, size: int, crop: Crop = "none") -> Tensor:
    """An upright RGB image, resized to (3, size, size) uint8; without a `crop`, all of it."""
    pixels = torch.from_numpy(np.array(picture))  # (H, W, 3)
    return resize_square(cropped(pixels.permute(2, 0, 1).unsqueeze(0), crop), size)[0]


def square_array(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """`square` of the whole image, as an array; an image that already has the size bypasses torch."""
    if picture.size == (size, size):
        return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
    return np.asarray(square(picture, size).numpy())


def cropped(images: Tensor, crop: Crop) -> Tensor:
    """The middle of images (N, 3, H, W), as a view; see `config.MaskingConfig`."""
    height, width = images.shape[2:]
    shorter = min(height, width)
    sides = {
        "none": (height, width),
        "centre": (round(height * 7 / 8), round(width * 7 / 8)),
        "square": (shorter, shorter),
    }
    high, wide = sides[crop]
    top, left = (height - high) // 2, (width - wide) // 2
    return images[:, :, top : top + high, left : left + wide]


def resize_square(images: Tensor, size: int) -> Tensor:
    """(N, 3, H, W) uint8 → (N, 3, size, size) uint8: bilinear with antialiasing, on the CPU."""
    if images.shape[2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)


def to_unit(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) → float32 in 0..1, channels last."""
    return images.contiguous(memory_format=torch.channels_last).float().div_(255)
