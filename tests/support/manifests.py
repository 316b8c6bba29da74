"""What a manifest says, by name."""

from __future__ import annotations

from collections.abc import Iterable

from models.data.formats import Manifest
from models.data.report import ColumnReading, FileCode


def labels(manifest: Manifest) -> dict[str, str]:
    """Path → class."""
    return {entry.path: manifest.classes[entry.label] for entry in manifest.entries}


def splits(manifest: Manifest) -> dict[str, str | None]:
    """Path → split."""
    return {entry.path: entry.split for entry in manifest.entries}


def rejections(manifest: Manifest) -> dict[str, FileCode]:
    """Path → why the file is left out."""
    return {rejection.path: rejection.code for rejection in manifest.rejected}


def readings(columns: Iterable[ColumnReading]) -> dict[str, str]:
    """Column → what it was read as."""
    return {reading.column: reading.read_as for reading in columns}
