"""Loaders: every sample once, the same batches however they are decoded, masks before augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from masktune.contract.hyperparameters import Augmentation, Hyperparameters
from models.data.images.decoding import cropped, resize_square, square, stored_square
from models.data.layout import DatasetInfo
from models.data.loading import batches as batches_module
from models.data.loading.batches import Batch, StoreLoader, make_loader, plan
from models.data.loading.loader_settings import LoaderSettings, Masking
from models.data.loading.loaders import train_loader, val_loader
from models.data.loading.workers import DecodedPixels, fitting_workers
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from models.run import Run
from tests.support.arrays import Arrays, write_arrays
from tests.unit.models.data.conftest import MakeImage

RUN = Run(seed=3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    images = np.random.default_rng(0).integers(0, 256, (21, 12, 12, 3), dtype=np.uint8)
    labels = np.arange(21, dtype=np.int64) % 2
    return write_arrays(
        tmp_path / "s", Arrays(images, labels, ["train"] * 21), DatasetInfo("x", "builtin", ("a", "b"))
    )


def _loader(store: Store, settings: LoaderSettings, run: Run = RUN, *, decoding: bool = False) -> StoreLoader:
    rows = store.rows("train")
    if decoding:
        return StoreLoader(DecodedPixels(store, rows, settings, run), store, rows, settings, run)
    return make_loader(store, rows, settings, run)


def _all(batches: list[Batch]) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.cat([b.images for b in batches]),
        torch.cat([b.labels for b in batches]),
        torch.cat([b.rows for b in batches]),
    )


def test_stored_order_gives_the_pixels_as_they_are(store: Store) -> None:
    loader = _loader(store, LoaderSettings(12, 8, "crop_flip"))
    batches = list(loader.epoch(None))
    images, labels, rows = _all(batches)
    assert store.pixels is not None
    expected = torch.from_numpy(np.array(store.pixels)).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(images, expected)
    assert labels.tolist() == store.labels.tolist()
    assert rows.tolist() == list(range(21))
    assert len(batches) == len(loader) == 3
    assert batches[0].images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("most", "of_class"), [(2, [1, 1]), (10, [5, 5]), (21, [11, 10]), (10**6, [11, 10])])
def test_a_part_of_train_has_each_class_in_proportion(store: Store, most: int, of_class: list[int]) -> None:
    loader = train_loader(store, Hyperparameters(image_size=12, max_train_samples=most), RUN)
    rows = loader.rows.tolist()
    assert rows == sorted(set(rows))
    assert np.bincount(store.labels[rows]).tolist() == of_class


def decodes_what_is_resident(store: Store, *, size: int, workers: int) -> None:
    settings_ = LoaderSettings(size, 8, "crop_flip", workers=workers)
    resident, decoding = _loader(store, settings_), _loader(store, settings_, decoding=True)
    for epoch in range(2):
        one = _all(list(resident.epoch(RUN.generator("erm", epoch))))
        other = _all(list(decoding.epoch(RUN.generator("erm", epoch))))
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    del decoding  # ends its workers


@pytest.mark.parametrize("size", [12, 16])
def test_decoding_gives_the_same_batches_as_resident_pixels(store: Store, size: int) -> None:
    decodes_what_is_resident(store, size=size, workers=0)


class _Counting(Store):
    """Counts the images that were read to be decoded."""

    read = 0

    def image_bytes(self, row: int) -> bytes:
        self.read += 1
        return super().image_bytes(row)


@pytest.fixture
def photographs(tmp_path: Path, make_image: MakeImage) -> _Counting:
    """JPEG files of several sizes: 21 to train on, 4 to validate."""
    with StoreWriter(tmp_path / "photographs") as writer:
        for number in range(25):
            split = "train" if number < 21 else "val"
            size = (70 + number % 3, 90 - number % 5)
            image = make_image(number, size=size, format="JPEG")
            writer.add(Row(f"{number}.jpg", number % 2, split, -1, *size, image))
        writer.finish(DatasetInfo("x", "builtin", ("a", "b")))
    return _Counting.open(tmp_path / "photographs")


def _same(one: StoreLoader, other: StoreLoader, epoch: int) -> bool:
    """Whether both give the same batches in this epoch, bit for bit."""
    generators = RUN.generator("erm", epoch), RUN.generator("erm", epoch)
    batches = [list(loader.epoch(g)) for loader, g in zip((one, other), generators, strict=True)]
    return all(
        torch.equal(a.images, b.images) and a.images.stride() == b.images.stride()
        for a, b in zip(*batches, strict=True)
    )


def test_small_squares_of_large_images_are_decoded_once(photographs: _Counting) -> None:
    settings_ = LoaderSettings(16, 8, "crop_flip", workers=0, several_epochs=True)
    plain = Store.open(photographs.directory)
    kept, decoding = _loader(photographs, settings_), _loader(plain, settings_, decoding=True)
    assert all(_same(kept, decoding, epoch) for epoch in range(3))
    assert photographs.read == 21


def test_a_training_decodes_small_squares_once(photographs: _Counting) -> None:
    config = Hyperparameters(image_size=16, batch_size=8)
    loaders = train_loader(photographs, config, RUN), val_loader(photographs, config, RUN)
    for epoch in range(3):
        list(loaders[0].epoch(RUN.generator("erm", epoch)))
        list(loaders[1].epoch(None))
    assert photographs.read == 25


def test_an_image_is_decoded_once_though_an_epoch_is_broken_off(photographs: _Counting) -> None:
    settings_ = LoaderSettings(16, 8, "flip", workers=0, several_epochs=True)
    kept = _loader(photographs, settings_)
    decoding = _loader(Store.open(photographs.directory), settings_, decoding=True)
    next(kept.epoch(RUN.generator("erm", 7)))
    assert photographs.read < 21
    assert all(_same(kept, decoding, epoch) for epoch in range(9))
    assert photographs.read == 21


@pytest.mark.parametrize(
    ("size", "several_epochs", "fitting"),
    [(65, True, 1 << 30), (16, False, 1 << 30), (16, True, 21 * 3 * 16**2 - 1)],
)
def test_squares_that_are_large_or_many_or_wanted_once_are_not_kept(
    photographs: _Counting, monkeypatch: pytest.MonkeyPatch, size: int, several_epochs: bool, fitting: int
) -> None:
    monkeypatch.setattr(batches_module, "RESIDENT_BYTES", fitting)
    loader = _loader(photographs, LoaderSettings(size, 8, workers=0, several_epochs=several_epochs))
    for epoch in range(2):
        list(loader.epoch(RUN.generator("erm", epoch)))
    assert photographs.read == 42


def test_epochs_differ_and_repeat_themselves(store: Store) -> None:
    loader = _loader(store, LoaderSettings(12, 8))
    first = _all(list(loader.epoch(RUN.generator("erm", 0))))[2]
    assert sorted(first.tolist()) == list(range(21))
    assert torch.equal(first, _all(list(loader.epoch(RUN.generator("erm", 0))))[2])
    assert not torch.equal(first, _all(list(loader.epoch(RUN.generator("erm", 1))))[2])


@pytest.mark.parametrize("augmentation", ["none", "flip", "pad_crop", "flip_affine", "crop_flip_jitter"])
def test_batches_are_the_same_however_many_are_prepared_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, augmentation: Augmentation
) -> None:
    found = []
    for at_once in (1, 2, 3, 16):
        monkeypatch.setattr(batches_module, "_AT_ONCE", at_once)
        loader = _loader(store, LoaderSettings(12, 4, augmentation))
        found.append(list(loader.epoch(RUN.generator("erm"))))
    for others in zip(*found, strict=True):
        assert all(
            torch.equal(a, b) for other in others for a, b in zip(other[:3], others[0][:3], strict=True)
        )


class _LeftHalf:
    """Masks the left half of every image."""

    digest = "the left half"

    def masks(self, rows: Tensor, size: int, device: torch.device) -> Tensor:
        masked = torch.zeros(len(rows), size, size, dtype=torch.bool, device=device)
        masked[:, :, : size // 2] = True
        return masked


def _black(images: Tensor, masks: Tensor) -> Tensor:
    return images.masked_fill(masks.unsqueeze(1), 0)


@pytest.mark.parametrize("decoding", [False, True])
def test_the_middle_of_the_images_is_asked_for_in_maps_alone(store: Store, decoding: bool) -> None:
    """12 pixels: `centre` leaves one out on either side, whether the pixels are resident or decoded."""
    assert store.pixels is not None
    whole = torch.from_numpy(np.array(store.pixels)).permute(0, 3, 1, 2)
    for crop, expected in (("none", whole), ("square", whole), ("centre", whole[:, :, 1:11, 1:11])):
        settings_ = LoaderSettings(12, 8, workers=0, crop=crop)  # type: ignore[arg-type]  # mypy widens a tuple of literals
        images, _, _ = _all(list(_loader(store, settings_, decoding=decoding).epoch(None)))
        assert torch.equal(images, resize_square(expected, 12).float() / 255)


def test_the_middle_of_a_wide_image_is_as_wide_as_it_is_high() -> None:
    images = torch.arange(6 * 8).view(1, 1, 6, 8).expand(1, 3, 6, 8)
    assert torch.equal(cropped(images, "square"), images[..., 1:7])
    assert torch.equal(cropped(images.mT, "square"), images.mT[:, :, 1:7])
    assert cropped(images, "centre").shape == (1, 3, 5, 7)


def test_masks_are_laid_on_the_image_before_it_is_augmented(store: Store) -> None:
    masking = Masking(_LeftHalf(), _black)
    plain = list(_loader(store, LoaderSettings(12, 8, "flip")).epoch(RUN.generator("f")))
    masked = list(_loader(store, LoaderSettings(12, 8, "flip", masking)).epoch(RUN.generator("f")))
    sides = set()
    for before, after in zip(plain, masked, strict=True):
        assert torch.equal(before.rows, after.rows)
        for image, other in zip(before.images, after.images, strict=True):
            side = slice(6, 12) if other[..., :6].any() else slice(0, 6)
            sides.add(side.start)
            assert other[..., side].abs().max() == 0  # wherever the flip has put it
            rest = slice(0, 6) if side.start else slice(6, 12)
            assert torch.equal(other[..., rest], image[..., rest])
    assert sides == {0, 6}


@given(st.integers(1, 60), st.integers(2, 16))
@settings(max_examples=40, deadline=None)
def test_a_plan_loses_nothing_and_leaves_no_batch_of_one_image(n: int, size: int) -> None:
    batches = plan(torch.arange(n), size)
    assert torch.equal(torch.cat(batches), torch.arange(n))
    assert len(batches) == 1 or all(len(b) >= 2 for b in batches)


def test_small_shared_memory_takes_fewer_workers_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    settings_ = LoaderSettings(224, 32, workers=4)
    batch = 32 * 3 * 224 * 224
    cpu = torch.device("cpu")
    assert fitting_workers(settings_, cpu, batches=9, shared_memory=100 * batch) == 4
    assert not caplog.records
    assert fitting_workers(settings_, cpu, batches=9, shared_memory=7 * batch) == 2
    assert fitting_workers(settings_, cpu, batches=9, shared_memory=1 << 10) == 0
    assert "--shm-size" in caplog.text


def test_no_more_workers_than_batches_and_none_for_one() -> None:
    settings_, cpu = LoaderSettings(224, 32, workers=4), torch.device("cpu")
    found = [fitting_workers(settings_, cpu, batches=n, shared_memory=1 << 40) for n in (1, 2, 3, 9)]
    assert found == [0, 2, 3, 4]


def test_no_samples_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="no sample"):
        make_loader(store, np.zeros(0, dtype=np.int64), LoaderSettings(12, 8), RUN)


def test_the_square_is_the_whole_picture(store: Store) -> None:
    picture = Image.new("RGB", (40, 10), (255, 0, 0))
    picture.paste((0, 0, 255), (20, 0, 40, 10))
    seen = square(picture, 8)
    assert seen.shape == (3, 8, 8)
    assert seen.dtype == torch.uint8
    assert seen[0, :, 0].tolist() == [255] * 8
    assert seen[2, :, -1].tolist() == [255] * 8
    assert store.pixels is not None
    same = stored_square(store.image_bytes(4), 12)
    assert torch.equal(same, torch.from_numpy(np.array(store.pixels[4])).permute(2, 0, 1))
