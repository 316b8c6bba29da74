"""Saliency maps and masks rendered as images, with only numpy and PIL."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Scalar = TypeVar("Scalar", bound=np.generic)

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Heat = NDArray[np.floating]
"""(h, w), any size and scale: it is resized to the image and rescaled to 0..1, minimum to maximum."""

LEGIBLE = 224
"""Images whose longer side is below this many pixels are enlarged, each pixel to a square."""
_OPACITY = 0.6  # at the most salient place, so that the image still shows through
_OUTLINE = (255, 122, 0)

# Inferno at 17 even steps (Smith and van der Walt, CC0): its lightness rises evenly, also for colour-blind
# readers and on greyscale printers.
_INFERNO = (
    "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 "
    "d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4"
)


@lru_cache(maxsize=1)
def colors() -> NDArray[np.float64]:
    """The colour scale, (256, 3) in 0..255."""
    knots = np.array([list(bytes.fromhex(knot)) for knot in _INFERNO.split()], np.float64)
    at = np.linspace(0, len(knots) - 1, 256)
    return np.stack([np.interp(at, np.arange(len(knots)), knots[:, c]) for c in range(3)], 1)


def heatmap(heat: Heat, *, size: tuple[int, int]) -> Image.Image:
    """The map alone, in colour, at the display size of an image of `size` (height, width) pixels."""
    return _image(_colored(_stretched(heat, _display_size(size))))


def overlay(pixels: Pixels, heat: Heat) -> Image.Image:
    """The map over the image, with opacity rising with saliency: the least salient places are unchanged."""
    height, width = pixels.shape[:2]
    level = _stretched(heat, _display_size((height, width)))
    opacity = _OPACITY * level[:, :, None]
    return _image(_enlarged(pixels) * (1 - opacity) + _colored(level) * opacity)


def mask_image(pixels: Pixels, mask: NDArray[np.bool_]) -> Image.Image:
    """The image as the finetune sees it, with `mask` (H, W) in black and each masked patch outlined."""
    picture = _enlarged(pixels).copy()
    masked = _enlarged(mask)
    picture[masked] = 0
    picture[masked & ~_shrunk(masked, by=max(1, min(picture.shape[:2]) // 100))] = _OUTLINE
    return _image(picture)


def thumbnail(image: Image.Image, *, side: int) -> Image.Image:
    """The image, scaled down so that its longer side is at most `side` pixels."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(scale * length)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def strip(images: Sequence[Image.Image], *, side: int = 112, gap: int = 4) -> Image.Image:
    """The images side by side, each within `side` pixels, with `gap` transparent pixels in between."""
    small = [thumbnail(image, side=side) for image in images]
    width = sum(image.width for image in small) + gap * (len(small) - 1)
    row = Image.new("RGBA", (width, max(image.height for image in small)))
    left = 0
    for image in small:
        row.paste(image, (left, 0))
        left += image.width + gap
    return row


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _factor(size: tuple[int, int]) -> int:
    return max(1, -(-LEGIBLE // max(size)))


def _display_size(size: tuple[int, int]) -> tuple[int, int]:
    factor = _factor(size)
    return size[0] * factor, size[1] * factor


def _enlarged(pixels: NDArray[Scalar]) -> NDArray[Scalar]:
    """Each pixel becomes a square, so that an image of 28 pixels is legible."""
    factor = _factor(pixels.shape[:2])
    return pixels.repeat(factor, 0).repeat(factor, 1)


def _stretched(heat: Heat, size: tuple[int, int]) -> NDArray[np.float64]:
    """0..1 at `size` (height, width); 0 everywhere for a constant map. Non-finite values count as 0."""
    values = np.nan_to_num(np.asarray(heat, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    large = Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    level: NDArray[np.float64] = np.array(large, np.float64)
    level -= level.min()
    level /= level.max() or 1.0
    return level


def _colored(level: NDArray[np.float64]) -> NDArray[np.float64]:
    return colors()[np.rint(level * 255).astype(np.intp)]


def _shrunk(mask: NDArray[np.bool_], *, by: int) -> NDArray[np.bool_]:
    """`mask` eroded by `by` pixels (4 neighbours); pixels outside the image count as unmasked."""
    for _ in range(by):
        padded = np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def _image(values: NDArray[Any]) -> Image.Image:
    return Image.fromarray(np.rint(values).astype(np.uint8))
