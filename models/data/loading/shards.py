"""The images of a pass in shards, and what a function makes of their batches, shard by shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, tee
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from models.data.images.decoding import to_unit
from models.data.loading.batched_eval import counting, side_by_side
from models.data.loading.batches import Batch, plan, stored_squares, to_device
from models.data.loading.loader_settings import LoaderSettings
from models.data.loading.workers import DecodedPixels
from models.data.store import Store
from models.run import Run
from models.types import Labels

T = TypeVar("T")


class ShardLoader:
    """Batches of the rows of each shard, in order and without augmentation; no batch holds rows of two."""

    def __init__(self, store: Store, shards: Sequence[Labels], settings: LoaderSettings, run: Run) -> None:
        self._store, self._settings, self._device = store, settings, run.device
        self._starts = [0, *accumulate(map(len, shards))]
        self._rows = np.concatenate(shards)
        self._decoded = None
        if store.pixels is None:
            self._decoded = DecodedPixels(store, self._rows, settings, run)

    def __len__(self) -> int:
        """Batches of all shards."""
        return sum(len(self.positions(number)) for number in range(len(self._starts) - 1))

    @property
    def largest_batch(self) -> int:
        """The numbers in the images of a batch: those of the first of all, as far as there are so many."""
        return len(self.positions(0)[0]) * 3 * self._settings.image_size**2

    def positions(self, number: int) -> list[Tensor]:
        """The positions of each batch of a shard, (B,) int64, among the rows of all."""
        order = torch.arange(self._starts[number], self._starts[number + 1])
        return plan(order, self._settings.batch_size)

    def batches(self, parts: Iterable[Tensor]) -> Iterator[Batch]:
        """The batches of these positions, which are read as far ahead as images are decoded."""
        ahead, of_batches = tee(parts)
        squares = map(self._stored, ahead) if self._decoded is None else self._decoded.squares(ahead)
        for images, positions in zip(squares, of_batches, strict=False):  # `strict` would read another
            rows = self._rows[positions.numpy()]
            labels = to_device(torch.from_numpy(self._store.labels[rows]), self._device)
            yield Batch(to_unit(images), labels, torch.from_numpy(rows))

    def _stored(self, positions: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 on the device, of a store with pixels."""
        assert self._store.pixels is not None
        pixels = torch.from_numpy(self._store.pixels[self._rows[positions.numpy()]])
        squares = stored_squares(pixels, self._settings)
        return to_device(squares.contiguous(), self._device).permute(0, 3, 1, 2)


def map_shards(
    loader: ShardLoader, numbers: Iterable[int], run: Run, function: Callable[[Batch], T]
) -> Iterator[tuple[int, list[T]]]:
    """Yield, for each of these shards in order, its number and `function` of its batches, as `map_batches`.

    `numbers` is read as far ahead as images are decoded and batches run side by side. Raises Stopped.
    """

    def process(batches: Iterator[Batch]) -> Iterator[T]:
        return side_by_side(batches, run.device, function, largest=loader.largest_batch)

    return process_shards(loader, numbers, run, process)


def process_shards(
    loader: ShardLoader,
    numbers: Iterable[int],
    run: Run,
    process: Callable[[Iterator[Batch]], Iterator[T]],
) -> Iterator[tuple[int, list[T]]]:
    """The same of what `process` makes of the batches, as `with_progress`."""
    begun = deque[tuple[int, int]]()  # number and batches of each

    def positions() -> Iterator[Tensor]:
        for number in numbers:
            parts = loader.positions(number)
            begun.append((number, len(parts)))
            yield from parts

    outputs = list[T]()
    for output in counting(loader.batches(positions()), len(loader), run, process):
        outputs.append(output)
        if len(outputs) == begun[0][1]:
            yield begun.popleft()[0], outputs
            outputs = []
