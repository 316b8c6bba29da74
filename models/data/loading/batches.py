"""Batches of a packed store on the device: resident pixels for small images, decoding workers for large ones.

Large images that are trained on as small squares are decoded once and then stay resident as well.
An image is resized to a square as a whole (or, on request, only its middle). The mask is applied to
that square, and augmentation follows, so that a crop of a masked image is the masked crop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.images.decoding import cropped, resize_square, to_unit
from models.data.loading.augment import RECIPES, Plans, augment
from models.data.loading.loader_settings import LoaderSettings
from models.data.loading.workers import DecodedPixels
from models.data.packing import MAX_PIXELS_SIDE
from models.data.store import Store
from models.run import Run

RESIDENT_BYTES = 4 << 30  # small images up to here stay on the device as one uint8 tensor
_PICKED_BYTES = 4 << 20  # squares that are picked out of it at once
_AT_ONCE = 16  # batches whose labels and augmentation plans are prepared together


class Batch(NamedTuple):
    """`images` (B, 3, H, W) float32 in 0..1, masked and augmented; `labels` (B,) int64, both on the device.

    `rows` (B,) int64 are row numbers of the store, on the CPU.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor


class Loader(Protocol):
    """A fixed set of samples, batched anew in each epoch."""

    @property
    def images(self) -> int:
        """Samples per epoch."""

    def __len__(self) -> int:
        """Steps per epoch."""

    def epoch(self, generator: torch.Generator | None) -> Iterator[Batch]:
        """Batches shuffled and augmented with `generator`; without one, in stored order and unaugmented."""


class PixelSource(Protocol):
    """The squares of a loader's rows, by position among those rows."""

    def squares(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield (B, 3, size, size) uint8 on the device for each (B,) int64 tensor of positions."""


def make_loader(store: Store, rows: NDArray[np.int64], settings: LoaderSettings, run: Run) -> StoreLoader:
    """A loader over the samples `rows` of `store`."""
    pixels = store.pixels
    fits = len(rows) * 3 * settings.image_size**2 <= RESIDENT_BYTES
    if pixels is not None and fits:
        return StoreLoader(ResidentPixels(pixels, rows, settings, run.device), store, rows, settings, run)
    source: PixelSource = DecodedPixels(store, rows, settings, run)
    if settings.several_epochs and fits and settings.image_size <= MAX_PIXELS_SIDE:
        source = CachedPixels(source, len(rows), settings, run.device)
    return StoreLoader(source, store, rows, settings, run)


class StoreLoader:
    """Adds order, masks, augmentation and labels to the squares of a `PixelSource`."""

    def __init__(
        self, source: PixelSource, store: Store, rows: NDArray[np.int64], settings: LoaderSettings, run: Run
    ) -> None:
        if len(rows) == 0:
            raise ValueError("there is no sample to make batches of")
        self._source = source
        self._settings = settings
        self._run = run
        self._rows = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        self._labels = torch.from_numpy(store.labels[rows]).to(run.device)

    @property
    def rows(self) -> NDArray[np.int64]:
        """(N,) row numbers of the store, in stored order."""
        return self._rows.numpy()

    @property
    def images(self) -> int:
        return len(self._rows)

    def __len__(self) -> int:
        return len(self._plan(torch.arange(self.images)))

    def _plan(self, order: Tensor) -> list[Tensor]:
        return plan(order, self._settings.batch_size)

    def epoch(self, generator: torch.Generator | None) -> Iterator[Batch]:
        if generator is None:
            yield from self._batches(self._plan(torch.arange(self.images)), draws=None)
            return
        numbers = RECIPES[self._settings.augmentation].numbers
        order = torch.randperm(self.images, generator=generator)
        draws = torch.rand(self.images, numbers, generator=generator)
        yield from self._batches(self._plan(order), draws=draws)

    def _batches(self, parts: Sequence[Tensor], *, draws: Tensor | None) -> Iterator[Batch]:
        """Yield one batch for each of `parts`, which hold positions among the rows."""
        facts = self._facts(parts, draws)
        for squares, (rows, labels, plans) in zip(self._source.squares(parts), facts, strict=True):
            yield self._batch(squares, rows, labels, plans)

    def _facts(
        self, parts: Sequence[Tensor], draws: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, Plans | None]]:
        """Yield rows, labels and plans of each part, prepared for several parts at once."""
        device, settings = self._run.device, self._settings
        side = settings.image_size
        for group in _groups(parts, _AT_ONCE):
            positions, sizes = torch.cat(list(group)), [len(part) for part in group]
            rows = torch.split(self._rows[positions], sizes)
            labels = torch.split(self._labels[to_device(positions, device)], sizes)
            if draws is None:
                yield from zip(rows, labels, [None] * len(sizes), strict=True)
                continue
            plans = RECIPES[settings.augmentation].plan(to_device(draws[positions], device), (side, side))
            of_parts = zip(*(torch.split(column, sizes) for column in plans), strict=True)
            yield from zip(rows, labels, of_parts, strict=True)

    def _batch(self, squares: Tensor, rows: Tensor, labels: Tensor, plans: Plans | None) -> Batch:
        device, settings = self._run.device, self._settings
        images = to_unit(squares)  # (B, 3, S, S)
        if settings.masking is not None:
            masks = settings.masking.source.masks(rows, settings.image_size, device)  # (B, S, S)
            images = settings.masking.fill(images, masks)
        if plans is not None:
            images = augment(settings.augmentation, images, plans)
        return Batch(images, labels, rows)


def _groups(parts: Sequence[Tensor], count: int) -> Iterator[Sequence[Tensor]]:
    """Yield `count` parts at a time, but at least one."""
    count = max(1, count)
    return (parts[i : i + count] for i in range(0, len(parts), count))


def plan(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut `order` into batches; a last batch of one image, which batch norm cannot normalise, is merged into
    the one before it."""
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches


class ResidentPixels:
    """All squares as one uint8 tensor (N, S, S, 3) on the device, indexed a batch at a time."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        rows: NDArray[np.int64],
        settings: LoaderSettings,
        device: torch.device,
    ) -> None:
        chunks = [
            stored_squares(torch.from_numpy(pixels[part]), settings)
            for part in np.array_split(rows, max(1, len(rows) // 1024))
        ]
        self._squares = torch.cat(chunks).contiguous().to(device)

    def squares(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        return _picked(self._squares, batches)


class CachedPixels:
    """Squares that are decoded on first use and then stay on the device."""

    def __init__(
        self, decoded: PixelSource, count: int, settings: LoaderSettings, device: torch.device
    ) -> None:
        side = settings.image_size
        self._decoded: PixelSource | None = decoded
        self._squares = torch.empty(count, side, side, 3, dtype=torch.uint8, device=device)
        self._held = torch.zeros(count, dtype=torch.bool)  # on the CPU

    def squares(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        if self._held.all():
            self._decoded = None  # ends its workers
        if self._decoded is None:
            return _picked(self._squares, batches)
        return self._decode_missing(batches, self._decoded)

    def _decode_missing(self, batches: Sequence[Tensor], decoded: PixelSource) -> Iterator[Tensor]:
        missing = [batch[~self._held[batch]] for batch in batches]
        decoding = decoded.squares([positions for positions in missing if len(positions)])
        for batch, positions in zip(batches, missing, strict=True):
            if len(positions):
                squares = next(decoding).permute(0, 2, 3, 1)
                self._squares.index_copy_(0, to_device(positions, self._squares.device), squares)
                self._held[positions] = True
            yield from _picked(self._squares, [batch])


def _picked(squares: Tensor, batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield (B, 3, S, S) out of `squares` (N, S, S, 3) for each (B,) tensor of positions on the CPU."""
    numbers = squares[0].numel() * max(map(len, batches), default=1)
    for group in _groups(batches, min(_AT_ONCE, _PICKED_BYTES // numbers)):
        positions = to_device(torch.cat(list(group)), squares.device)
        picked = squares.index_select(0, positions).permute(0, 3, 1, 2)
        yield from torch.split(picked, [len(part) for part in group])


def stored_squares(pixels: Tensor, settings: LoaderSettings) -> Tensor:
    """(N, H, W, 3) → (N, S, S, 3), uint8."""
    images = cropped(pixels.permute(0, 3, 1, 2), settings.crop)
    return resize_square(images, settings.image_size).permute(0, 2, 3, 1)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`. Pinned for a GPU: an unpinned copy of more than 64 KiB waits for its queue."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
