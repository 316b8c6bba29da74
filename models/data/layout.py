"""The files of a packed store, their contents, and how they are read; `packing` writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.data.columns import COLUMNS_FILE, Columns
from models.data.grey import GreyWindow, read_window
from models.data.report import REPORT_FILE, Rejection
from models.errors import LearningError

T = TypeVar("T")

SAMPLES_FILE = "samples.arrow"
PIXELS_FILE = "pixels.npy"
DATASET_FILE = "dataset.json"
VERSION = 1

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("split", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("group", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("sha256", pa.binary(32), nullable=False),
        pa.field("image", pa.large_binary(), nullable=False),
    ]
)


@dataclass(frozen=True)
class DatasetInfo:
    """The contents of `dataset.json`.
    `split_record` and `summary` are plain JSON values.

    `grey_window` is that of its 16-bit grey images: null if it has none. An unlabelled set has no `classes`.
    """

    name: str
    format: str
    classes: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    seed: int = 0
    split_record: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    grey_window: GreyWindow | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """From its JSON; ignores unknown keys. Raises KeyError if one is missing, ValueError."""
        return cls(
            name=record["name"],
            format=record["format"],
            classes=tuple(record["classes"]),
            group_names=tuple(record["group_names"]),
            seed=record["seed"],
            split_record=record["split_record"],
            summary=record["summary"],
            grey_window=read_window(record["grey_window"]),
        )


class StoreError(LearningError):
    """The folder is not a complete packed store: it is missing, damaged or of another version."""

    reason = "dataset_damaged"


def read_store(directory: Path) -> tuple[DatasetInfo, pa.Table, Columns]:
    """What `dataset.json`, `samples.arrow` and the file of further columns hold.
    The table is memory-mapped. Raises `StoreError` if the store is not complete."""
    try:
        record = json.loads((directory / DATASET_FILE).read_text(encoding="utf-8"))
        info, count, version = DatasetInfo.from_json(record), record["count"], record["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{directory.name} is not a packed data set: {DATASET_FILE} cannot be read"
        ) from error
    if version != VERSION:
        raise StoreError(
            f"{directory.name} has version {version}, but this program reads {VERSION}: import it again"
        )
    try:
        table = pa.ipc.open_file(pa.memory_map(str(directory / SAMPLES_FILE))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"{directory.name} is damaged: {SAMPLES_FILE} cannot be read") from error
    if table.schema != SCHEMA or table.num_rows != count:
        raise StoreError(f"{directory.name} is damaged: {SAMPLES_FILE} does not hold {count} samples")
    try:
        columns = Columns.read(directory, count)
    except (OSError, ValueError) as error:  # pa.ArrowInvalid is a ValueError
        raise StoreError(f"{directory.name} is damaged: {COLUMNS_FILE} cannot be read") from error
    return info, table, columns


def read_pixels(directory: Path, count: int) -> NDArray[np.uint8] | None:
    """(N, H, W, 3) RGB of `count` images, memory-mapped; None if they are large, or of several sizes."""
    path = directory / PIXELS_FILE
    if not path.exists():
        return None
    try:
        pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"{directory.name} is damaged: {PIXELS_FILE} cannot be read") from error
    if pixels.ndim != 4 or pixels.shape[0] != count or pixels.dtype != np.uint8:
        raise StoreError(f"{directory.name} is damaged: {PIXELS_FILE} has the wrong shape")
    return pixels


def read_copies(directory: Path) -> list[list[str]]:
    """The paths of each picture that occurs more than once, as the import found them."""
    return _read_report(directory, "duplicates", lambda same: same["paths"])


def read_rejected(directory: Path) -> list[Rejection]:
    """The files that the import left out, with the reasons."""
    return _read_report(directory, "rejected", lambda rejection: Rejection(**rejection))


def _read_report(directory: Path, part: str, read: Callable[[dict[str, Any]], T]) -> list[T]:
    """The entries of a part of the import's report; none in a store without one."""
    try:
        report = json.loads((directory / REPORT_FILE).read_text(encoding="utf-8"))
        return [read(entry) for entry in report[part]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{directory.name} is damaged: {REPORT_FILE} cannot be read") from error


def read_column(table: pa.Table, name: str) -> NDArray[np.int64]:
    """(N,) the numbers of a column."""
    # pyarrow's `to_numpy` would import pandas where that is installed: half a second in each job's process.
    return np.from_dlpack(table[name].combine_chunks()).astype(np.int64)


def split_codes(table: pa.Table) -> NDArray[np.int64]:
    """Codes of the dictionary column; the writer's dictionary is SPLIT_NAMES, in that order."""
    chunks = [np.from_dlpack(chunk.indices) for chunk in table["split"].chunks]
    return np.concatenate(chunks).astype(np.int64) if chunks else np.zeros(0, dtype=np.int64)
