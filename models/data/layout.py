"""The files of a packed store and their contents, shared by its writer and its reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa

from models.data.grey import GreyWindow, read_window

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
    """The contents of `dataset.json`. `split_record` and `summary` are plain JSON values.

    `grey_window` is that of its 16-bit grey images: null if it has none.
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
