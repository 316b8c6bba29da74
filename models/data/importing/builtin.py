"""Data sets that need no upload: scikit-learn's digits, and MNIST, CIFAR-10 and SVHN from a folder."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masktune.contract.hyperparameters import BiasAssignment, BiasKind
from models.data.importing.biased import KIND_NAMES, bias_images
from models.data.importing.digits_on_photos import draw_on_photographs
from models.data.report import ImportRefused, ProblemCode
from models.data.splits import assign_splits

DIGITS = tuple(str(digit) for digit in range(10))
HALVES = ("0-4", "5-9")
LOOPS = ("loop", "no loop")
PHOTOGRAPHS = ("temple", "flower")
"""scikit-learn's china.jpg and flower.jpg, in the order of the `LOOPS` whose background they mostly are."""
PHOTOGRAPH_SHARE = 0.95
_DIGITS_OF_LOOPS = ((0, 6, 8, 9), (1, 2, 3, 5, 7))  # a 4 is written both ways
_TEST_SHARE = 0.3


class SourceError(ImportRefused):
    """The data set cannot be made: `unknown_builtin`, `source_unavailable` or `source_damaged`."""


@dataclass(frozen=True)
class BuiltinOptions:
    """How a builtin data set is made.

    `root` is the folder that holds (or, with `download`, receives) MNIST, CIFAR-10 and SVHN as
    torchvision lays them out. `size` (pixels) applies to the digits; `kind`, `ratio` and `assignment`
    apply to the biased sets.
    """

    root: Path | None = None
    download: bool = False
    seed: int = 0
    size: int = 28
    kind: BiasKind = "square"
    ratio: float = 0.99
    assignment: BiasAssignment = "random"


@dataclass(frozen=True)
class BuiltinData:
    """Images (N, H, W, 3) uint8 RGB, labels (N,), split names or None (to be made), groups (N,) or None."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    splits: tuple[str, ...] | None = None
    groups: NDArray[np.int64] | None = None
    group_names: tuple[str, ...] = ()


class _Part(NamedTuple):
    """The images of one split."""

    split: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def make_builtin(name: str, options: BuiltinOptions | None = None) -> BuiltinData:
    """The data set of that name in `BUILTIN`. Raises `SourceError` if it is unknown or unavailable."""
    if name not in BUILTIN:
        raise SourceError(
            ProblemCode.UNKNOWN_BUILTIN,
            f"there is no builtin data set {name!r}: use one of {', '.join(BUILTIN)}",
        )
    return BUILTIN[name](options or BuiltinOptions())


def _digits(options: BuiltinOptions) -> BuiltinData:
    """The 1,797 real handwritten digits (8×8) that come with scikit-learn, upsampled."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    size = (options.size, options.size)
    upsampled = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)) for image in grey]
    return BuiltinData(_rgb(np.stack(upsampled)), labels.astype(np.int64), DIGITS)


def _biased_digits(options: BuiltinOptions) -> BuiltinData:
    digits = _digits(options)
    halves = (digits.labels >= 5).astype(np.int64)
    splits = np.array(assign_splits([None] * len(halves), halves, seed=options.seed).splits)
    names = ("train", "val", "calibration", "test")
    return _biased([_Part(n, digits.images[splits == n], digits.labels[splits == n]) for n in names], options)


def _digits_on_photos(options: BuiltinOptions) -> BuiltinData:
    """Digits with a closed loop against those without, each class mostly over a photograph of its own.

    95 % of each class's training images are; in test, half of them, so that its groups are balanced. Each
    digit is used once.
    """
    from sklearn.datasets import load_digits, load_sample_image

    rng = np.random.default_rng([options.seed, 2])
    strokes, digits = load_digits(return_X_y=True)
    chosen = np.isin(digits, np.concatenate(_DIGITS_OF_LOOPS))
    labels = np.isin(digits[chosen], _DIGITS_OF_LOOPS[1]).astype(np.int64)
    splits, places = np.full(len(labels), "train"), labels.copy()
    for label in range(len(LOOPS)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        test, train = np.split(rows, [round(_TEST_SHARE * len(rows))])
        splits[test] = "test"
        elsewhere = [*test[: len(test) // 2], *train[: round((1 - PHOTOGRAPH_SHARE) * len(train))]]
        places[elsewhere] = 1 - label
    photographs = [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    images = draw_on_photographs(strokes[chosen].reshape(-1, 8, 8) / 16, photographs, places, rng)
    names = tuple(f"{loop} · {photograph}" for loop in LOOPS for photograph in PHOTOGRAPHS)
    return BuiltinData(images, labels, LOOPS, tuple(splits.tolist()), labels * 2 + places, names)


def _mnist(options: BuiltinOptions) -> BuiltinData:
    return _joined(_mnist_parts(options), DIGITS)


def _biased_mnist(options: BuiltinOptions) -> BuiltinData:
    """The paper's set: 48,000 images in train, 12,000 in val; in test the shortcut is on the wrong class."""
    return _biased(_held_out(_mnist_parts(options), options), options)


def _cifar10(options: BuiltinOptions) -> BuiltinData:
    root = _root(options, "cifar10")
    from torchvision.datasets import CIFAR10

    def read(train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        cifar = CIFAR10(root, train=train, download=options.download)
        return np.asarray(cifar.data), np.asarray(cifar.targets, dtype=np.int64)

    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    return _joined(_held_out(_torchvision_parts("cifar10", options, read), options), names)


def _svhn(options: BuiltinOptions) -> BuiltinData:
    root = _root(options, "svhn")
    from torchvision.datasets import SVHN

    def read(train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        svhn = SVHN(root, split="train" if train else "test", download=options.download)
        return np.ascontiguousarray(svhn.data.transpose(0, 2, 3, 1)), np.asarray(svhn.labels, dtype=np.int64)

    return _joined(_held_out(_torchvision_parts("svhn", options, read), options), DIGITS)


def _held_out(parts: Sequence[_Part], options: BuiltinOptions) -> list[_Part]:
    """Split off a random fifth of the training images for validation, as in the paper."""
    train, test = parts
    order = np.random.default_rng(options.seed).permutation(len(train.labels))
    val, rest = np.split(order, [len(order) // 5])
    return [
        _Part("train", train.images[rest], train.labels[rest]),
        _Part("val", train.images[val], train.labels[val]),
        test,
    ]


def _mnist_parts(options: BuiltinOptions) -> list[_Part]:
    """Read the idx files (gzipped or not) if they are in the folder, otherwise use torchvision."""
    root = _root(options, "mnist")
    for folder in (root, root / "MNIST" / "raw"):
        parts = [
            (
                name,
                _idx_file(folder / f"{stem}-images-idx3-ubyte"),
                _idx_file(folder / f"{stem}-labels-idx1-ubyte"),
            )
            for name, stem in (("train", "train"), ("test", "t10k"))
        ]
        complete = [(name, images, labels) for name, images, labels in parts if images and labels]
        if len(complete) == 2:
            return [
                _Part(name, _rgb(_idx(images)), _idx(labels).astype(np.int64))
                for name, images, labels in complete
            ]
    from torchvision.datasets import MNIST

    def read(train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        mnist = MNIST(root, train=train, download=options.download)
        return _rgb(mnist.data.numpy()), mnist.targets.numpy().astype(np.int64)

    return _torchvision_parts("mnist", options, read)


def _root(options: BuiltinOptions, name: str) -> Path:
    if options.root is None:
        raise SourceError(
            ProblemCode.SOURCE_UNAVAILABLE,
            f"{name} is not included in the packages: configure a folder that holds it, or upload it",
        )
    return options.root


def _torchvision_parts(
    name: str, options: BuiltinOptions, read: Callable[[bool], tuple[NDArray[np.uint8], NDArray[np.int64]]]
) -> list[_Part]:
    try:
        return [_Part("train", *read(True)), _Part("test", *read(False))]
    except (OSError, RuntimeError) as error:  # torchvision: not found, damaged, or its mirror unreachable
        done = "could not be downloaded either" if options.download else "may not be downloaded"
        more = "" if options.download else ", or allow the download with the option download=true"
        raise SourceError(
            ProblemCode.SOURCE_UNAVAILABLE,
            f"{name} is not complete in the configured folder and {done}: put torchvision's {name} files "
            f"there{more}",
        ) from error


def _idx_file(path: Path) -> Path | None:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


def _idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes: two zeros, type 8, rank, sizes (big-endian), values."""
    try:
        encoded = path.read_bytes()
        encoded = gzip.decompress(encoded) if path.suffix == ".gz" else encoded
        shape = np.frombuffer(encoded, ">u4", count=encoded[3], offset=4)
        values = np.frombuffer(encoded, np.uint8, offset=4 + 4 * encoded[3]).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise SourceError(ProblemCode.SOURCE_DAMAGED, f"{path.name} is damaged: download it again") from error
    if encoded[:3] != b"\x00\x00\x08":
        raise SourceError(ProblemCode.SOURCE_DAMAGED, f"{path.name} is not an idx file: download it again")
    return values


def _rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=-1)  # (N, H, W) → (N, H, W, 3)


def _joined(parts: Sequence[_Part], classes: tuple[str, ...]) -> BuiltinData:
    splits = tuple(part.split for part in parts for _ in part.labels)
    images, labels = np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts])
    return BuiltinData(images, labels, classes, splits)


def _biased(parts: Sequence[_Part], options: BuiltinOptions) -> BuiltinData:
    """0–4 against 5–9, with the shortcut painted as `options` say; in `test` on the wrong class only."""
    rng = np.random.default_rng([options.seed, 1])
    done: list[_Part] = []
    painted: list[NDArray[np.bool_]] = []
    for part in parts:
        order = np.argsort(
            part.labels, kind="stable"
        )  # by digit: `order` then paints as the released code does
        labels = (part.labels[order] >= 5).astype(np.int64)
        biased = bias_images(
            part.images[order],
            labels,
            kind=options.kind,
            ratio=0.0 if part.split == "test" else options.ratio,
            assignment=options.assignment,
            rng=rng,
        )
        done.append(_Part(part.split, biased.images, labels))
        painted.append(biased.painted)
    joined = _joined(done, HALVES)
    mark = KIND_NAMES[options.kind]
    names = tuple(f"{half} · {state}" for half in HALVES for state in (f"no {mark}", mark))
    groups = joined.labels * 2 + np.concatenate(painted)
    return BuiltinData(joined.images, joined.labels, HALVES, joined.splits, groups, names)


BUILTIN: Mapping[str, Callable[[BuiltinOptions], BuiltinData]] = {
    "digits": _digits,
    "biased-digits": _biased_digits,
    "digits-on-photos": _digits_on_photos,
    "mnist": _mnist,
    "biased-mnist": _biased_mnist,
    "cifar10": _cifar10,
    "svhn": _svhn,
}
