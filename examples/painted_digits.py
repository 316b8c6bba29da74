"""A folder of images with a shortcut in it: real handwritten digits, some with a red square in the corner.

    python examples/painted_digits.py FOLDER

FOLDER/digits is the data set to upload: images, and labels.csv with the columns path, label, split, group.
FOLDER/new has 200 more images like those for training. Do not upload them: they stand for the images that
a model will be asked about later. Their names begin with their class.

The task is 0-4 against 5-9. In training, the square is on 99 % of the 0-4 and 1 % of the 5-9. In test it
is the other way round: on every 5-9 and on no 0-4. A model that has learned the square fails there.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = ("0-4", "5-9")
SIZE, SQUARE = 28, 4  # pixels
SHARE = 0.99
TEST, NEW = 360, 200  # images; the others are for training


def write(folder: Path, *, seed: int = 0) -> tuple[Path, Path]:
    """Write the images; return the folder to upload and the folder of new images."""
    pixels, digits = load_digits(return_X_y=True)
    labels = (digits >= 5).astype(int)
    rng = np.random.default_rng(seed)
    split = np.full(len(labels), "train", dtype=object)
    split[rng.permutation(len(labels))[: TEST + NEW]] = ["test"] * TEST + ["new"] * NEW
    likely = np.where(labels == 0, SHARE, 1 - SHARE)
    square = np.where(split == "test", labels == 1, rng.random(len(labels)) < likely)

    uploaded, new = folder / "digits", folder / "new"
    for made in (uploaded / "images", new):
        made.mkdir(parents=True, exist_ok=True)
    with (uploaded / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "split", "group"))
        for number, label in enumerate(labels):
            name, image = CLASSES[label], _image(pixels[number], bool(square[number]))
            if split[number] == "new":
                image.save(new / f"{name}_{number:04d}.png")
                continue
            image.save(uploaded / "images" / f"{number:04d}.png")
            group = f"{name} {'with' if square[number] else 'without'} square"
            table.writerow((f"images/{number:04d}.png", name, split[number], group))
    return uploaded, new


def _image(pixels: NDArray[np.float64], square: bool) -> Image.Image:
    """64 values of 0..16 → 28 x 28 pixels in colour, with the square or without."""
    grey = Image.fromarray(np.round(pixels.reshape(8, 8) * (255 / 16)).astype(np.uint8))
    image = grey.resize((SIZE, SIZE), Image.Resampling.BILINEAR).convert("RGB")
    if square:
        image.paste((255, 0, 0), (0, 0, SQUARE, SQUARE))
    return image


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for path in write(Path(sys.argv[1])):
        print(f"{path}: {sum(1 for _ in path.rglob('*.png')):,} images")
