"""Mask sets on disk: low-resolution maps and thresholds, not images.

A mask set is a folder with `masks.npy` (one record per image: 20 bytes plus the fp32 map, 216 bytes at
7×7; open it with `numpy.load(mmap_mode="r")`) and `mask_set.json`. It appears only when complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.loading.batches import to_device
from models.data.loading.loader_settings import MaskSource
from models.errors import LearningError
from models.masking.rule import random_masks, threshold_masks
from models.runtime.files import hidden_sibling, sweep_siblings, sync
from models.types import Size

_VERSION = 1
_RECORDS, _HEADER = "masks.npy", "mask_set.json"


class MaskSetError(LearningError, ValueError):
    """The folder is not a readable mask set, or does not hold a requested row."""

    reason = "mask_set_unusable"


@dataclass(frozen=True)
class MaskSetHeader:
    """How a set was made.
    `size` is the image's (height, width), `map_size` the stored map's.

    With method `random`, a record's `count` pixels are drawn from (`seed`, row).
    """

    method: str
    target: str
    sigmas: float
    share: float | None
    size: Size
    map_size: Size
    seed: int
    images: int
    crop: str
    version: int = _VERSION

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        sizes = {name: (int(record[name][0]), int(record[name][1])) for name in ("size", "map_size")}
        return cls(**(record | sizes))


class MaskBatch(NamedTuple):
    """What is stored for one batch, as numpy-convertible tensors of length B."""

    rows: Tensor
    maps: Tensor  # (B, h, w) float32
    thresholds: Tensor  # float32
    counts: Tensor  # pixels masked
    targets: Tensor  # the class that the map explains


def _record(map_size: Size) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("row", "<i8"),
            ("threshold", "<f4"),
            ("count", "<i4"),
            ("target", "<i4"),
            ("map", "<f4", map_size),
        ]
    )


def write_mask_set(folder: Path, header: MaskSetHeader, batches: Iterable[MaskBatch]) -> None:
    """Stream `batches` into `folder`, which must not exist, in constant memory; it appears when complete.

    Raises FileExistsError, and MaskSetError if they are not exactly `header.images` records. After an error
    nothing is left. What a killed process left beside `folder` is removed.
    """
    if folder.exists():
        raise FileExistsError(f"a mask set is already at {folder}")
    sweep_siblings(folder)
    partial = hidden_sibling(folder)
    try:
        fill_mask_set(partial, header, batches)
        for path in (*partial.iterdir(), partial):  # so that a power cut leaves a whole set or none
            sync(path)
        partial.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def fill_mask_set(folder: Path, header: MaskSetHeader, batches: Iterable[MaskBatch]) -> None:
    """Stream `batches` into the empty `folder`, for whoever publishes it. Raises MaskSetError likewise."""
    with (folder / _RECORDS).open("wb") as file:
        written = _write_records(file, header, batches)
    if written != header.images:
        raise MaskSetError(f"{written} masks were given, {header.images} announced")
    (folder / _HEADER).write_text(json.dumps(dataclasses.asdict(header), indent=1))


def _write_records(file: BinaryIO, header: MaskSetHeader, batches: Iterable[MaskBatch]) -> int:
    """Write an .npy file with a record for each image; returns their number."""
    dtype, written = _record(header.map_size), 0
    description = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (header.images,),
    }
    np.lib.format.write_array_header_1_0(file, description)
    for batch in batches:
        records = np.empty(len(batch.rows), dtype)
        columns = batch.rows, batch.thresholds, batch.counts, batch.targets, batch.maps
        for name, column in zip(dtype.names or (), columns, strict=True):
            records[name] = column.detach().cpu().numpy()
        file.write(records.tobytes())
        written += len(records)
    return written


class MaskSet:
    """A mask set on disk, memory-mapped: opening it reads only the row numbers."""

    def __init__(self, header: MaskSetHeader, records: NDArray[np.void]) -> None:
        self.header = header
        self._records = records
        self.rows: NDArray[np.int64] = np.array(records["row"])
        self._order = np.argsort(self.rows, kind="stable")
        self._sorted = self.rows[self._order]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises MaskSetError if `folder` is not a complete mask set of this version."""
        try:
            header = MaskSetHeader.from_json(json.loads((folder / _HEADER).read_text()))
            records = np.load(folder / _RECORDS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MaskSetError(f"{folder.name} is not a readable mask set: {error}") from error
        if header.version != _VERSION or records.dtype != _record(header.map_size):
            raise MaskSetError(f"{folder.name} is a mask set of version {header.version}, not {_VERSION}")
        if len(records) != header.images:
            raise MaskSetError(f"{folder.name} holds {len(records)} of {header.images} masks")
        return cls(header, records)

    def __len__(self) -> int:
        return self.header.images

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that the masks depend on, in hexadecimal."""
        header = self.header
        digest = hashlib.sha256(repr((header.method, header.size, header.seed)).encode())
        digest.update(self._records.view(np.uint8).data)
        return digest.hexdigest()

    @property
    def masked_share(self) -> float:
        """Masked pixels over all pixels of the set."""
        height, width = self.header.size
        return int(self._records["count"].sum(dtype=np.int64)) / (len(self) * height * width)

    @property
    def nothing_masked(self) -> int:
        return int((self._records["count"] == 0).sum())

    @property
    def non_finite(self) -> int:
        """Maps that are not finite; these mask nothing, so no other needs checking."""
        maps = self._records["map"][self._records["count"] == 0]
        return int((~np.isfinite(maps).all((1, 2))).sum())

    def records(self, rows: Tensor | NDArray[np.int64]) -> MaskBatch:
        """The stored records of `rows` (B,), copied, on the CPU. Raises MaskSetError for an unknown row."""
        numbers = np.asarray(rows, np.int64)
        at = np.searchsorted(self._sorted, numbers).clip(0, len(self) - 1)
        if not np.array_equal(self._sorted[at], numbers):
            missing = numbers[self._sorted[at] != numbers]
            raise MaskSetError(f"the mask set does not hold row {missing[0]}")
        records = self._records[self._order[at]]
        return MaskBatch(
            rows=torch.from_numpy(numbers),
            maps=torch.from_numpy(records["map"].copy()),
            thresholds=torch.from_numpy(records["threshold"].copy()),
            counts=torch.from_numpy(records["count"].copy()),
            targets=torch.from_numpy(records["target"].copy()),
        )

    def masks(self, rows: Tensor, size: int | Size, device: torch.device) -> Tensor:
        """(B, H, W) bool on `device`, True where masked; at the set's size, as they were counted.

        `size` is a side or (height, width), in pixels.
        """
        size = (size, size) if isinstance(size, int) else size
        stored = self.records(rows.cpu())
        if self.header.method != "random":
            return threshold_masks(to_device(stored.maps, device), to_device(stored.thresholds, device), size)
        own = self.header.size
        scale = size[0] * size[1] / (own[0] * own[1])
        counts = to_device((stored.counts * scale).round().long(), device)
        return random_masks(counts, stored.rows, size, seed=self.header.seed)


@dataclass(frozen=True)
class _Union:
    sources: tuple[MaskSource, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(" ".join(source.digest for source in self.sources).encode()).hexdigest()

    def masks(self, rows: Tensor, size: int, device: torch.device) -> Tensor:
        masked = self.sources[0].masks(rows, size, device)
        for source in self.sources[1:]:
            masked = masked | source.masks(rows, size, device)
        return masked


def union(sources: Sequence[MaskSource]) -> MaskSource:
    """Masks every pixel that any of `sources` masks: the paper's accumulation over iterations."""
    if not sources:
        raise ValueError("a union needs at least one mask set")
    return sources[0] if len(sources) == 1 else _Union(tuple(sources))
