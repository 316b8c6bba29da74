"""Decode in worker processes, so that the training loop does not wait for large images."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_convert

from masktune.contract.hyperparameters import Crop
from models.data.images.decoding import stored_square
from models.data.loading.loader_settings import LoaderSettings
from models.data.store import Store
from models.run import Run

log = logging.getLogger(__name__)

_PREFETCH = 2  # batches ahead, per worker
_SHARED_MEMORY = "/dev/shm"  # noqa: S108  # nosec B108  # only its free space is read


class _Squares(Dataset[Tensor]):
    """Rows of a store as decoded squares; a worker decodes a whole batch at once."""

    def __init__(self, store: Store, rows: NDArray[np.int64], size: int, crop: Crop) -> None:
        self._store, self._rows, self._size, self._crop = store, rows, size, crop

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, positions: Sequence[int]) -> Tensor:
        """(B, 3, size, size) uint8."""
        window, files = (
            self._store.info.grey_window,
            map(self._store.image_bytes, self._rows[positions].tolist()),
        )
        return torch.stack([stored_square(file, self._size, self._crop, window) for file in files])


class _Plan:
    """The batches of the next epoch; read in the main process, each when a worker is free for it."""

    def __init__(self) -> None:
        self.batches: Iterable[Tensor] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (positions.tolist() for positions in self.batches)


class DecodedPixels:
    """Squares decoded from the memory-mapped store at the size needed, by torch's DataLoader.

    The batches are the same for any number of workers. The workers live as long as this object.
    """

    def __init__(self, store: Store, rows: NDArray[np.int64], settings: LoaderSettings, run: Run) -> None:
        self._device = device = run.device
        self._plan = _Plan()
        batches = max(1, len(rows) // settings.batch_size)  # a small last batch may be merged
        workers = fitting_workers(settings, device, batches=batches)
        self._loader: DataLoader[Tensor] = DataLoader(
            _Squares(store, rows, settings.image_size, settings.crop),
            batch_sampler=self._plan,
            num_workers=workers,
            collate_fn=default_convert,
            pin_memory=device.type == "cuda",
            prefetch_factor=_PREFETCH if workers else None,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # otherwise each epoch would draw from the global one
        )

    def squares(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        self._plan.batches = batches
        for squares in self._loader:
            yield squares.to(self._device, non_blocking=True)


def fitting_workers(
    settings: LoaderSettings,
    device: torch.device,
    *,
    batches: int,
    shared_memory: int | None = None,
) -> int:
    """The number of workers: as requested, or as suits the machine, but no more than there are batches or
    than shared memory has room for; none for a single batch.

    `shared_memory` is in bytes; None measures what is free. A GPU needs more than four workers to stay
    busy. If the network runs on the same few cores, every decoding process slows it down: on two cores,
    ResNet-50 predicts 37 images/s with two processes, 39 with one and 47 with none.
    """
    cores = len(os.sched_getaffinity(0))
    workers = settings.workers
    if workers is None:
        workers = min(4, cores // 4) if device.type == "cpu" else min(16, cores)
    if batches == 1:  # starting a process takes longer than decoding a batch
        return 0
    workers = min(workers, batches)
    free = _free_shared_memory() if shared_memory is None else shared_memory
    each = (_PREFETCH + 1) * settings.batch_size * 3 * settings.image_size**2
    fitting = min(workers, free // each)
    if fitting < workers:
        log.warning(
            "%s has room for %d of %d decoding workers (%d MiB each): give the container more, "
            "such as --shm-size=1g, or the images are decoded more slowly",
            _SHARED_MEMORY, fitting, workers, max(1, each >> 20),
        )  # fmt: skip
    return fitting


def _free_shared_memory() -> int:
    try:
        state = os.statvfs(_SHARED_MEMORY)
    except OSError:  # no such path: not Linux, and shared memory has no limit of its own
        return 1 << 62
    return state.f_bavail * state.f_frsize
