"""Data sets with known groups to judge group inference: digits with a shortcut, recomposed photographs.

Neither uses the validation or the test split of benchmarks.waterbirds_like.
"""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import binary_dilation, distance_transform_edt

from masktune.contract.hyperparameters import BiasKind
from models.data.biased import bias_images
from models.data.builtin import make_builtin
from models.mitigation.logistic import folds

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Half(NamedTuple):
    """Images (N, H, W, 3) uint8, labels (N,) 0 or 1, and places (N,) 0 or 1: the shortcut's value."""

    images: Images
    labels: Labels
    places: Labels


class Case(NamedTuple):
    """A share `ratio` of the training samples has the place of its class; the test half is balanced."""

    name: str
    ratio: float
    train: Half
    test: Half


def digits(kind: BiasKind, ratio: float, rng: np.random.Generator) -> Case:
    """scikit-learn's digits, 0-4 against 5-9, with `kind` painted on; the halves share no digit."""
    digits = make_builtin("digits")
    labels = (digits.labels >= 5).astype(np.int64)
    half = folds(digits.labels, count=2, rng=rng) == 0
    painted = []
    for mine, share in ((half, ratio), (~half, 0.5)):
        biased = bias_images(digits.images[mine], labels[mine], kind=kind, ratio=share, rng=rng)
        painted.append(Half(biased.images, labels[mine], (~biased.painted).astype(np.int64)))
    return Case(f"digits, {kind}", ratio, *painted)


@dataclass(frozen=True)
class CutOuts:
    """The training photographs of the plants, split into pasted object and background, (N, …) each."""

    images: Images
    masks: NDArray[np.bool_]
    backgrounds: Images
    labels: Labels
    places: Labels
    objects: NDArray[np.str_]


def cut_outs(archive: Path) -> CutOuts:
    """Take the training split alone. The hole in a background is filled from its edge and blurred."""
    images, masks, backgrounds, facts = [], [], [], []
    with zipfile.ZipFile(archive) as pack:
        objects = {line["img_id"]: line["object"] for line in _lines(pack, "objects.csv")}
        for line in _lines(pack, "metadata.csv"):
            if line["split"] != "0":
                continue
            image = np.asarray(_picture(pack, line["img_filename"]).convert("RGB"))
            mask = np.asarray(_picture(pack, f"masks/{line['img_id']}.png").convert("L")) > 127
            images.append(image)
            masks.append(mask)
            backgrounds.append(_fill(image, mask))
            facts.append((int(line["y"]), int(line["place"]), objects[line["img_id"]]))
    labels, places, names = (np.array(column) for column in zip(*facts, strict=True))
    return CutOuts(np.stack(images), np.stack(masks), np.stack(backgrounds), labels, places, names)


def recompose(parts: CutOuts, ratio: float, rng: np.random.Generator, *, count: int, tests: int) -> Case:
    """`count` and `tests` photographs per class; train and test share backgrounds, but no cut-out."""
    mine = np.zeros(len(parts.labels), bool)
    for label in (0, 1):
        names = rng.permutation(np.unique(parts.objects[parts.labels == label]))
        mine |= np.isin(parts.objects, names[: (len(names) + 1) // 2])
    train = _compose(parts, mine, ratio, rng, count)
    return Case("plants recomposed", ratio, train, _compose(parts, ~mine, 0.5, rng, tests))


def _compose(
    parts: CutOuts, usable: NDArray[np.bool_], ratio: float, rng: np.random.Generator, count: int
) -> Half:
    images, labels, places = [], [], []
    for label in (0, 1):
        pool = np.flatnonzero(usable & (parts.labels == label))
        same = round(ratio * count)
        for place, number in ((label, same), (1 - label, count - same)):
            grounds = np.flatnonzero(parts.places == place)
            chosen = zip(rng.choice(pool, number), rng.choice(grounds, number), strict=True)
            images += [_paste(parts, thing, ground, flip=rng.random() < 0.5) for thing, ground in chosen]
            labels += [label] * number
            places += [place] * number
    return Half(np.stack(images), np.array(labels), np.array(places))


def _paste(parts: CutOuts, thing: int, ground: int, *, flip: bool) -> Images:
    soft = Image.fromarray(parts.masks[thing].astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(0.7))
    share = np.asarray(soft, np.float32)[..., None] / 255
    mixed = parts.images[thing] * share + parts.backgrounds[ground] * (1 - share)
    return np.asarray(mixed[:, :: -1 if flip else 1], np.uint8)


def _fill(image: Images, mask: NDArray[np.bool_]) -> Images:
    hole = binary_dilation(mask, iterations=2)
    nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
    filled = image[tuple(cast("NDArray[np.int32]", nearest))]
    blurred = np.asarray(Image.fromarray(filled).filter(ImageFilter.GaussianBlur(2)))
    return np.asarray(np.where(hole[..., None], blurred, image), np.uint8)


def _lines(pack: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(pack.read(name).decode())))


def _picture(pack: zipfile.ZipFile, name: str) -> Image.Image:
    return Image.open(io.BytesIO(pack.read(name)))
