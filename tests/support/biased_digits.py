"""Real digits with a square that goes with the class in most of them, as a folder of images."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits


def make_digits(root: Path, *, aligned: int) -> Path:
    """Low digits against high ones, without groups; a square on `aligned` of ten low ones and the rest of the
    high ones."""
    pixels, digits = load_digits(return_X_y=True)
    for index, (grey, digit) in enumerate(zip(pixels[:800], digits[:800], strict=True)):
        picture = (grey.reshape(8, 8) * 15).astype("uint8").repeat(2, 0).repeat(2, 1)
        high = int(digit >= 5)
        lacks = index // 7 % 10 >= aligned
        if high == lacks:
            picture[:4, :4] = 255
        folder = root / ("low", "high")[high]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{index:04d}-{'lacks' if lacks else 'has'}.png")
    return root
