"""Training sets with a shortcut of known strength, or none, and a test half that is balanced over it."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageColor

from models.data.importing.biased import bias_images
from models.data.importing.builtin import make_builtin
from models.types import Labels
from research.rivals.features import FeatureCache, Images, Photographs

PLANTS = {
    "background": "stampplants.zip",
    "camera": "stampplants-site.zip",
    "coin": "stampplants-tag.zip",
}
COLOURED_DIGITS, BIASED_MNIST, BUILTIN = "digits-on-colours", "biased-mnist", "digits-on-photos"
SETS = (*PLANTS, COLOURED_DIGITS, BIASED_MNIST, BUILTIN)
OWN_SHARE, NO_SHORTCUT, RANDOM_COLOURS, MARKED_SHARE = 0.95, 0.5, 0.1, 0.99
_CUT_SHARES, _CUTS = (0.98, 0.9, 0.8, NO_SHORTCUT), range(3)
_RATIOS = (10, 30)  # images of one class to one of the other
_GATE_CUTS = range(3, 7)  # beside the three above: 21 over the three kinds of shortcut
_COLOURS = np.array(
    [ImageColor.getrgb(f"hsl({hue}, 60%, {light}%)") for light in (35, 60) for hue in range(0, 360, 72)]
)
_DIGITS, _DIGIT_PIXELS = 4000, 64


class Case(NamedTuple):
    """A training set of which the share `share` of each class is at the class's place, and its test half.

    `repeat` numbers the cuts, or is the seed where a set is not cut. With `gate_only` no head is fitted.
    """

    kind: str
    share: float
    repeat: int
    seed: int
    train: Photographs
    test: Photographs
    gate_only: bool = False


def read_cases(
    kind: str, data: Path | None, cache: FeatureCache, *, seeds: Sequence[int], quick: bool
) -> Iterator[Case]:
    """All cases of one of `SETS`; if `quick`, the set as it is and one cut without a shortcut."""
    if kind == BUILTIN:
        train, test = _builtin(cache)
        for seed in seeds:
            yield Case(kind, OWN_SHARE, seed, seed, train, test)
        return
    assert data is not None
    if kind == COLOURED_DIGITS:
        yield from _digits(data / "mnist", cache, seed=seeds[0], quick=quick)
        return
    if kind == BIASED_MNIST:
        train, test = (_marked(data / "mnist", part, cache) for part in ("train", "t10k"))
        for seed in seeds:
            yield Case(kind, MARKED_SHARE, seed, seed, train, test)
        return
    train, test = _plants(data / PLANTS[kind], cache)
    for seed in seeds:
        yield Case(kind, OWN_SHARE, seed, seed, train, test)
    for share in _CUT_SHARES:
        for cut in (0,) if quick else _CUTS:
            if share == NO_SHORTCUT or not quick:
                yield Case(kind, share, cut, seeds[0], train.take(cut_to_share(train, share, cut)), test)
    if quick:
        return
    yield Case(f"{kind}, swapped", OWN_SHARE, 0, seeds[0], train.swapped(), test.swapped())
    for ratio in _RATIOS:
        for cut in _CUTS:
            rare = train.take(_rare_class(train, ratio, cut))
            yield Case(f"{kind}, classes {ratio} : 1", OWN_SHARE, cut, seeds[0], rare, test)
    for cut in _GATE_CUTS:
        drawn = train.take(cut_to_share(train, NO_SHORTCUT, cut))
        yield Case(kind, NO_SHORTCUT, cut, seeds[0], drawn, test, gate_only=True)


def cut_to_share(photographs: Photographs, share: float, cut: int) -> Labels:
    """Rows of which the share `share` of each class is at its place: as many as there are."""
    rng, rows = np.random.default_rng([cut, 99]), []
    aligned = photographs.labels == photographs.places
    for label in np.unique(photographs.labels):
        mine = photographs.labels == label
        majority = rng.permutation(np.flatnonzero(mine & aligned))
        minority = rng.permutation(np.flatnonzero(mine & ~aligned))
        fewer = min(len(minority), round(len(majority) * (1 - share) / share))
        rows += [majority[: round(fewer * share / (1 - share))], minority[:fewer]]
    return np.sort(np.concatenate(rows))


def _rare_class(photographs: Photographs, ratio: int, cut: int) -> Labels:
    """Rows of all images of one class and one in `ratio` of the other, class `cut` % 2, at each place."""
    rng, labels = np.random.default_rng([cut, 98]), photographs.labels
    rows = [np.flatnonzero(labels != cut % 2)]
    for place in (0, 1):
        mine = np.flatnonzero((labels == cut % 2) & (photographs.places == place))
        rows.append(rng.permutation(mine)[: round(len(mine) / ratio)])
    return np.sort(np.concatenate(rows))


def _builtin(cache: FeatureCache) -> tuple[Photographs, Photographs]:
    """The set that ships: a photograph behind the digit is the shortcut."""
    made = make_builtin(BUILTIN)
    assert made.splits is not None
    assert made.groups is not None
    whole = cache.load(BUILTIN, lambda: made.images, made.labels, made.groups % 2)
    split = np.array(made.splits)
    return whole.take(np.flatnonzero(split == "train")), whole.take(np.flatnonzero(split == "test"))


def _plants(archive: Path, cache: FeatureCache) -> tuple[Photographs, Photographs]:
    """The given training and test splits. The validation split is balanced, so it is left out."""
    with zipfile.ZipFile(archive) as pack:
        lines = list(csv.DictReader(io.StringIO(pack.read("metadata.csv").decode())))
        lines = [line for line in lines if line["split"] != "1"]

        def read_images() -> Images:
            pictures = (Image.open(io.BytesIO(pack.read(line["img_filename"]))) for line in lines)
            return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])

        labels, places, split = (
            np.array([int(line[key]) for line in lines]) for key in ("y", "place", "split")
        )
        whole = cache.load(archive.stem, read_images, labels, places)
        names = [Path(line["img_filename"]).stem.rpartition("_")[0] for line in lines]
        whole = replace(whole, objects=np.unique(names, return_inverse=True)[1])
    return whole.take(np.flatnonzero(split == 0)), whole.take(np.flatnonzero(split == 2))


def _digits(mnist: Path, cache: FeatureCache, *, seed: int, quick: bool) -> Iterator[Case]:
    """4,000 digits on ten colours; the test half has 4,000 others on random ones."""
    test = _coloured(mnist, "t10k", RANDOM_COLOURS, cache)
    for share in (0.99,) if quick else (0.99, OWN_SHARE, RANDOM_COLOURS):
        yield Case(COLOURED_DIGITS, share, 0, seed, _coloured(mnist, "train", share, cache), test)


def _coloured(mnist: Path, part: str, share: float, cache: FeatureCache) -> Photographs:
    images, labels, places = coloured_digits(mnist, part, share)
    return cache.load(f"{part}-{share:g}", lambda: _enlarged(images), labels, places)


def coloured_digits(mnist: Path, part: str, share: float) -> tuple[Images, Labels, Labels]:
    """4,000 white digits of `part`, 28 px, on the colour of their class in the share `share`, else on
    another's; their labels and colours."""
    digits, labels = _mnist(mnist, part)
    rng = np.random.default_rng(7)
    others = (labels + rng.integers(1, 10, _DIGITS)) % 10
    places = np.where(rng.random(_DIGITS) < share, labels, others)
    strength = digits[..., None] / 255
    images = (_COLOURS[places][:, None, None] * (1 - strength) + 255 * strength).round()
    return images.astype(np.uint8), labels, places


def _marked(mnist: Path, part: str, cache: FeatureCache) -> Photographs:
    """The paper's two classes, its square on 99 % of one and 1 % of the other; in test on half of each."""
    digits, numerals = _mnist(mnist, part)
    labels = (numerals > 4).astype(np.int64)
    grey = np.repeat(digits[..., None], 3, axis=3)
    share = MARKED_SHARE if part == "train" else NO_SHORTCUT
    images, has_mark = bias_images(grey, labels, ratio=share, rng=np.random.default_rng(7))
    places = 1 - has_mark.astype(np.int64)
    return cache.load(f"{part}-marked", lambda: _enlarged(images), labels, places)


def _mnist(folder: Path, part: str) -> tuple[Images, Labels]:
    digits = _idx(folder / f"{part}-images-idx3-ubyte.gz", 16)[: _DIGITS * 28 * 28].reshape(-1, 28, 28)
    return digits, _idx(folder / f"{part}-labels-idx1-ubyte.gz", 8)[:_DIGITS].astype(np.int64)


def _enlarged(images: NDArray[Any]) -> Images:
    large = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    large = F.interpolate(large, size=(_DIGIT_PIXELS, _DIGIT_PIXELS), mode="bilinear")
    return np.asarray(large.permute(0, 2, 3, 1).byte().numpy())


def _idx(path: Path, header: int) -> Images:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
