"""Builtin data: the digits that come with the packages, and folders laid out as torchvision's."""

from __future__ import annotations

import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from masktune.contract.hyperparameters import BiasKind
from models.data.importing.biased import KIND_NAMES, PAINTERS, RED
from models.data.importing.builtin import BuiltinOptions, SourceError, make_builtin
from models.data.report import ProblemCode

WriteMnist = Callable[[Path, str], None]


def _idx(values: NDArray[Any]) -> bytes:
    return (
        struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
        + values.astype(np.uint8).tobytes()
    )


@pytest.fixture
def write_mnist() -> WriteMnist:
    def write(folder: Path, suffix: str) -> None:
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for stem, count in (("train", 100), ("t10k", 40)):
            images, labels = rng.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
            for name, values in (("images-idx3", images), ("labels-idx1", labels)):
                data = _idx(values)
                path = folder / f"{stem}-{name}-ubyte{suffix}"
                path.write_bytes(gzip.compress(data) if suffix else data)

    return write


def test_digits_are_real_and_square() -> None:
    data = make_builtin("digits")
    assert data.images.shape == (1797, 28, 28, 3)
    assert np.bincount(data.labels).min() > 170
    assert data.splits is None


def test_biased_digits_have_the_shortcut_on_the_wrong_class_in_test_only() -> None:
    data = make_builtin("biased-digits", BuiltinOptions(seed=1))
    assert data.classes == ("0-4", "5-9")
    assert data.splits is not None
    assert data.groups is not None
    splits, painted = np.array(data.splits), data.groups % 2 == 1
    test = splits == "test"
    assert painted[test].tolist() == (data.labels[test] == 1).tolist()
    for split in ("train", "val", "calibration"):
        first = (splits == split) & (data.labels == 0)
        second = (splits == split) & (data.labels == 1)
        assert painted[first].mean() > 0.97
        assert painted[second].mean() < 0.03
    corner = data.images[:, :4, :4].reshape(len(painted), -1, 3)
    assert ((corner == [255, 0, 0]).all(axis=(1, 2)) == painted).all()


@pytest.mark.parametrize("kind", get_args(BiasKind))
def test_the_builtin_set_takes_every_kind(kind: BiasKind) -> None:
    data = make_builtin("biased-digits", BuiltinOptions(kind=kind, assignment="order", ratio=0.9))
    assert data.groups is not None
    assert data.group_names[1] == f"0-4 · {KIND_NAMES[kind]}"
    painted = data.groups % 2 == 1
    again = PAINTERS[kind](data.images[painted])
    assert (again == data.images[painted]).all()  # painting twice changes nothing
    red = (data.images == RED).all(-1).any((1, 2))
    assert red.tolist() == painted.tolist()


def test_digits_on_photos_lack_their_photograph_in_a_twentieth_of_training_and_half_of_test() -> None:
    photos = make_builtin("digits-on-photos", BuiltinOptions(seed=1))
    assert photos.splits is not None
    assert photos.groups is not None
    assert photos.group_names[1] == "loop · flower"
    assert (photos.groups // 2 == photos.labels).all()
    splits, elsewhere = np.array(photos.splits), photos.groups % 2 != photos.labels
    for label in (0, 1):
        train, test = ((splits == split) & (photos.labels == label) for split in ("train", "test"))
        assert elsewhere[train].sum() == round(0.05 * train.sum())
        assert elsewhere[test].sum() == test.sum() // 2 > 100


@pytest.mark.parametrize(("below", "suffix"), [("", ".gz"), ("MNIST/raw", "")])
def test_mnist_from_a_folder(tmp_path: Path, write_mnist: WriteMnist, below: str, suffix: str) -> None:
    write_mnist(tmp_path / "root" / below, suffix)
    data = make_builtin("mnist", BuiltinOptions(root=tmp_path / "root"))
    assert data.images.shape == (140, 28, 28, 3)
    assert data.splits == ("train",) * 100 + ("test",) * 40


def test_biased_mnist_in_order_leaves_fours_and_fives_in_conflict(
    tmp_path: Path, write_mnist: WriteMnist
) -> None:
    write_mnist(tmp_path / "root", "")
    options = BuiltinOptions(root=tmp_path / "root", assignment="order", ratio=0.9)
    data = make_builtin("biased-mnist", options)
    assert data.groups is not None
    assert data.splits is not None
    splits = np.array(data.splits)
    assert [int((splits == name).sum()) for name in ("train", "val", "test")] == [80, 20, 40]
    train = splits == "train"
    assert (np.diff(data.labels[train]) >= 0).all()
    unpainted_first = np.flatnonzero(data.groups[train] == 0)
    assert (np.diff(unpainted_first) == 1).all()
    assert data.labels[train][unpainted_first[-1] + 1] == 1  # the last ones of the first class


def test_what_cannot_be_had_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="use one of digits") as unknown:
        make_builtin("imagenet")
    assert unknown.value.problem.code is ProblemCode.UNKNOWN_BUILTIN
    for name in ("mnist", "biased-mnist", "cifar10", "svhn"):
        with pytest.raises(SourceError, match="configure a folder") as missing:
            make_builtin(name)
        assert missing.value.problem.code is ProblemCode.SOURCE_UNAVAILABLE


def test_a_damaged_file_is_named(tmp_path: Path, write_mnist: WriteMnist) -> None:
    write_mnist(tmp_path / "root", ".gz")
    path = tmp_path / "root" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match="t10k-images") as damaged:
        make_builtin("mnist", BuiltinOptions(root=tmp_path / "root"))
    assert damaged.value.problem.code is ProblemCode.SOURCE_DAMAGED


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_a_fifth_of_the_training_images_validates(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the paper. torchvision's readers check sums of the real files, so a double stands for them."""

    def read(root: Path, train: bool = True, split: str = "train", **_: Any) -> SimpleNamespace:
        count = 50 if train and split == "train" else 20
        pixels = (
            np.zeros((count, 32, 32, 3), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
        )
        channels_first = pixels.transpose(0, 3, 1, 2)
        labels = np.arange(count) % 10
        return SimpleNamespace(
            data=pixels if name == "cifar10" else channels_first, targets=labels, labels=labels
        )

    readers = ModuleType("torchvision.datasets")
    readers.__dict__.update(CIFAR10=read, SVHN=read)
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", readers)
    data, again, other = (make_builtin(name, BuiltinOptions(root=tmp_path, seed=seed)) for seed in (1, 1, 2))
    assert data.splits is not None
    assert {split: data.splits.count(split) for split in set(data.splits)} == {
        "train": 40,
        "val": 10,
        "test": 20,
    }
    first_pixels = data.images[:, 0, 0, 0].tolist()
    assert sorted(first_pixels[:50]) == list(range(50))
    assert (data.labels == data.images[:, 0, 0, 0] % 10).all()
    assert np.array_equal(again.images, data.images)
    assert not np.array_equal(other.images, data.images)
