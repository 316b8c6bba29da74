"""The demo's data set: real handwritten digits with a shortcut painted on, as the zip a user would upload."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

SIZE, SQUARE = 28, 4  # pixels
SHARE = 0.99
"""Share of the first class that has the square in training; in the second class it is 1 − SHARE."""
TEST_SHARE = 0.2
CLASSES = ("0-4", "5-9")
RED = (255, 0, 0)


class Counts(NamedTuple):
    """Number of images in the zip, by split."""

    train: int
    test: int


def write_zip(target: Path, *, seed: int = 0) -> Counts:
    """Write the images and `labels.csv` (`path,label,split,group`) to `target`.

    The task is 0-4 against 5-9. In train, the square is on 99 % of the first class and 1 % of the
    second; in test, on all of the second class and nothing else. The group combines the square and the
    class: it is used to measure, never to train.
    """
    pixels, digits = load_digits(return_X_y=True)
    images, labels = _enlarged(pixels), (digits >= 5).astype(np.int64)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    test = np.zeros(len(labels), dtype=bool)
    test[order[: round(TEST_SHARE * len(labels))]] = True
    square = np.where(test, labels == 1, _in_training(labels, test, rng))
    images[square, :SQUARE, :SQUARE] = RED
    rows: list[tuple[str, str, str, str]] = []
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(len(labels)):
            split, label = ("test" if test[number] else "train"), CLASSES[labels[number]]
            path = f"{split}/{label}/{number:04d}.png"
            archive.writestr(path, _png(images[number]))
            rows.append((path, label, split, f"{label} {'with' if square[number] else 'without'} square"))
        archive.writestr("labels.csv", _csv(rows))
    return Counts(int((~test).sum()), int(test.sum()))


def _in_training(
    labels: NDArray[np.int64], test: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Mask of the training images that get the square: the shares are exact, the images drawn at random."""
    square = np.zeros(len(labels), dtype=bool)
    for label, share in ((0, SHARE), (1, 1 - SHARE)):
        rows = rng.permutation(np.flatnonzero((labels == label) & ~test))
        square[rows[: round(share * len(rows))]] = True
    return square


def _enlarged(pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Enlarge (N, 64) values in 0..16 to (N, 28, 28, 3) uint8 images."""
    grey = np.round(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for one in grey]
    return np.repeat(np.stack(large)[..., None], 3, axis=-1)


def _png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _csv(rows: list[tuple[str, str, str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("path", "label", "split", "group"))
    writer.writerows(rows)
    return text.getvalue()
