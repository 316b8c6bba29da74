"""Saliency maps and masks rendered as images, with numpy and PIL, and scipy for outlines alone.

Layers are transparent pictures, drawn at the size of the picture that they are laid over.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Heat = NDArray[np.floating]
"""(h, w), any size and scale: it is resized to the image and rescaled to 0..1, minimum to maximum."""

Size = tuple[int, int]
"""Width and height in pixels, as PIL has them."""

LEGIBLE = 224
"""Images whose longer side is below this many pixels are enlarged, each pixel to a square."""
STRENGTH = 0.75
"""Opacity of the map in an overlay at the most salient place, so that the image still shows through."""
_SIDE_PER_LINE_PIXEL = 112  # an outline has lines of two pixels where the picture has 224

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


def legible(pixels: Pixels) -> Image.Image:
    """The image; each pixel of a small one becomes a square, so that an image of 28 pixels is legible."""
    return _resized(pixels, legible_size(pixels))


def legible_size(pixels: Pixels) -> Size:
    """The size of the image where it is `legible`."""
    height, width = pixels.shape[:2]
    factor = max(1, -(-LEGIBLE // max(height, width)))
    return factor * width, factor * height


def heatmap(heat: Heat, size: Size, *, strength: float = 1.0) -> Image.Image:
    """A layer of the map in colour. Opacity rises with saliency from 0 to `strength`."""
    layer = Image.fromarray(np.rint(255 * _stretched(heat, size)).astype(np.uint8), "P")
    layer.putpalette(_palette(strength), "RGBA")
    return layer


def overlay(pixels: Pixels, heat: Heat) -> Image.Image:
    """The map over the image in grey, so that all colour is the map's: on a photograph of an orange, a warm
    map could not be told from the fruit.
    """
    grey = legible(pixels).convert("L")
    layer = heatmap(heat, grey.size, strength=STRENGTH).convert("RGBA")
    picture = grey.convert("RGB")
    picture.paste(layer, mask=layer)
    return picture


def mask_layer(filled: Pixels, mask: NDArray[np.bool_], size: Size) -> Image.Image:
    """A layer of the pixels of `mask` (H, W), as they are in `filled`."""
    opacity = np.where(mask, np.uint8(255), np.uint8(0))[:, :, None]
    return _resized(np.concatenate((filled & opacity, opacity), 2), size)


def mask_outline(mask: NDArray[np.bool_], size: Size) -> Image.Image:
    """A layer with the outline of `mask` (H, W): a light line within it beside a dark one around it, so that
    one of them stands out on any image.
    """
    from scipy.ndimage import binary_dilation, binary_erosion

    inside = np.asarray(_resized(mask, size))
    width = max(1, round(min(size) / _SIDE_PER_LINE_PIXEL))
    # Pixels outside the image count as unmasked.
    shrunk, grown = binary_erosion(inside, iterations=width), binary_dilation(inside, iterations=width)
    lines = np.select([inside & ~shrunk, grown & ~inside], [np.uint8(1), np.uint8(2)])
    layer = Image.fromarray(lines.astype(np.uint8), "P")
    layer.putpalette(bytes((0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 255)), "RGBA")
    return layer


def thumbnail(image: Image.Image, *, side: int) -> Image.Image:
    """The image, scaled down so that its longer side is at most `side` pixels."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(scale * length)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # An overlay of 224 pixels takes 28 ms at Pillow's default, level 6; 6 ms at 1, with an eighth more bytes.
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _stretched(heat: Heat, size: Size) -> NDArray[np.float64]:
    """0..1, (height, width); 0 everywhere for a constant map. Non-finite values count as 0."""
    values = np.nan_to_num(np.asarray(heat, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    large = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
    level: NDArray[np.float64] = np.array(large, np.float64)
    level -= level.min()
    level /= level.max() or 1.0
    return level


@lru_cache(maxsize=2)
def _palette(strength: float) -> bytes:
    """RGBA of the 256 levels."""
    opacity = np.linspace(0, 255 * strength, 256)[:, None]
    return np.rint(np.concatenate((colors(), opacity), 1)).astype(np.uint8).tobytes()


def _resized(pixels: NDArray[Any], size: Size) -> Image.Image:
    """Without mixing pixels, so that a mask stays one."""
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
