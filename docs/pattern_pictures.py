"""Draw docs/images/pattern-*.png: for each kind of pattern, an image with the one and one with the other.

python -m docs.pattern_pictures FOLDER

Everything is drawn from the digits and photographs that come with scikit-learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import affine_transform

from models.data.importing.digits_on_photos import SIDE, Images, draw_on_photographs

Strokes = NDArray[np.float64]
Places = NDArray[np.integer[Any]]
Change = Callable[[Image.Image, int, np.random.Generator], Image.Image]
"""Gives an image its pattern, number 0 or 1."""

_SHOWN = 80  # pixels of a side
_GAP = 4
_COLOURS = 56
_SLANT = 0.45  # cells to the side for each cell upwards


def draw_digits(kind: str, strokes: Strokes, places: Places, rng: np.random.Generator) -> Images:
    """Images (N, SIDE, SIDE, 3) of `strokes` (N, 8, 8) in 0..1 on photographs, each with the pattern that
    `places` (N,) names, of a kind in `KINDS`. Nothing else goes with the pattern."""
    from sklearn.datasets import load_sample_image

    photographs = [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    backgrounds = places if kind == "background" else rng.integers(2, size=len(places))
    if kind == "slant":
        strokes = np.stack(
            [_slanted(stroke, int(place)) for stroke, place in zip(strokes, places, strict=True)]
        )
    images = draw_on_photographs(strokes, photographs, backgrounds, rng)
    change = KINDS[kind]
    changed = [
        change(Image.fromarray(image), int(place), rng) for image, place in zip(images, places, strict=True)
    ]
    return np.stack([np.asarray(image) for image in changed])


def _slanted(stroke: Strokes, place: int) -> Strokes:
    slant = _SLANT * (1 - 2 * place)
    matrix, offset = np.array([[1, 0], [slant, 1]]), (0, -slant * (len(stroke) - 1) / 2)
    return np.asarray(affine_transform(stroke, matrix, offset, order=1))


def _unchanged(image: Image.Image, place: int, rng: np.random.Generator) -> Image.Image:
    return image


def _camera(image: Image.Image, place: int, rng: np.random.Generator) -> Image.Image:
    """One sees warmer, the other bluer and with noise."""
    cast = ((1.06, 1.0, 0.88), (0.92, 1.0, 1.06))[place]
    noise = rng.normal(0, (1, 7)[place], (SIDE, SIDE, 3))
    return _of_floats(np.asarray(image) * cast + noise)


def _coin(image: Image.Image, place: int, rng: np.random.Generator) -> Image.Image:
    if not place:
        left, top = rng.integers(2, 7, 2).tolist()
        ImageDraw.Draw(image).ellipse((left, top, left + 22, top + 22), "#dcdccf", "#55554c", 2)
    return image


def _date(image: Image.Image, place: int, rng: np.random.Generator) -> Image.Image:
    if not place:
        day, month = rng.integers(1, 29), rng.integers(1, 13)
        text, place_of_text = f"{day:02}.{month:02}.19", (SIDE - 66, SIDE - 20)
        ImageDraw.Draw(image).text(
            place_of_text, text, "#fff04a", font_size=15, stroke_width=1, stroke_fill="black"
        )
    return image


def _quality(image: Image.Image, place: int, rng: np.random.Generator) -> Image.Image:
    if place:
        return image
    file = BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(5, 12)))
    return Image.open(file).convert("RGB")


def _object_beside(image: Image.Image, place: int, rng: np.random.Generator) -> Image.Image:
    """A ball or a box, of any colour, anywhere."""
    side = int(rng.integers(20, 30))
    left, top = rng.integers(0, SIDE - side, 2).tolist()
    draw, box = ImageDraw.Draw(image), (left, top, left + side, top + side)
    colour = tuple(rng.integers(40, 216, 3).tolist())
    if place:
        draw.rectangle(box, colour, "black", 2)
    else:
        draw.ellipse(box, colour, "black", 2)
    return image


def _light(image: Image.Image, place: int, rng: np.random.Generator) -> Image.Image:
    """From the left, or from the right."""
    ramp = np.linspace(1.3, 0.5, SIDE)[:: 1 - 2 * place, None]
    return _of_floats(np.asarray(image) * ramp)


def _of_floats(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


KINDS: Mapping[str, Change] = {
    "background": _unchanged,
    "camera": _camera,
    "coin": _coin,
    "date": _date,
    "quality": _quality,
    "object-beside": _object_beside,
    "slant": _unchanged,
    "light": _light,
}


def main() -> None:
    """Write a picture for each kind: a digit with a closed loop, and one without."""
    from sklearn.datasets import load_digits

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    strokes = load_digits().data[[0, 3]].reshape(-1, 8, 8) / 16
    for kind in KINDS:
        images = draw_digits(kind, strokes, np.arange(2), np.random.default_rng(4))
        picture = Image.new("RGB", (2 * _SHOWN + _GAP, _SHOWN), "white")
        for place, pixels in enumerate(images):
            small = Image.fromarray(pixels).resize((_SHOWN, _SHOWN), Image.Resampling.LANCZOS)
            picture.paste(small, (place * (_SHOWN + _GAP), 0))
        picture.quantize(_COLOURS).save(folder / f"pattern-{kind}.png", optimize=True)


if __name__ == "__main__":
    main()
