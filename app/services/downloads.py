"""A model's files for elsewhere: its weights as they are, its graph exported once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from app.inference import Part, graphs
from core.artifacts import Artifacts
from core.tables import ModelRow

FileFormat = Literal["safetensors", "onnx"]


class Download(NamedTuple):
    path: Path
    filename: str
    etag: str
    """Strong: a model's files never change."""


def prepare(row: ModelRow, artifacts: Artifacts, format: FileFormat) -> Download:
    """The file on this disk; a first ONNX download exports it. Raises `Conflict` where it cannot be."""
    return Download(_FILES[format](row, artifacts), f"{row.id}.{format}", f'"{row.id}.{format}"')


def _weights(row: ModelRow, artifacts: Artifacts) -> Path:
    return artifacts.folder(row.artifact) / "model.safetensors"


def _graph(row: ModelRow, artifacts: Artifacts) -> Path:
    return graphs.graph(Part(row.id, row.artifact), artifacts)


_FILES: dict[FileFormat, Callable[[ModelRow, Artifacts], Path]] = {"safetensors": _weights, "onnx": _graph}
