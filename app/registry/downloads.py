"""Downloads of a model's files: the weights as stored, and an ONNX graph that is exported once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from starlette.concurrency import run_in_threadpool

from app.inference import Part
from app.inference.engines.graph_store import Exports
from core.artifacts import Artifacts
from core.tables import ModelRow

FileFormat = Literal["safetensors", "onnx"]


class Download(NamedTuple):
    path: Path
    filename: str
    etag: str
    """Strong validator, since a model's files never change."""


async def prepare(row: ModelRow, format: FileFormat, artifacts: Artifacts, exports: Exports) -> Download:
    """Return the file on the local disk. The first ONNX download exports it, which may take minutes.

    Raises `Conflict` if the model cannot be exported, and `Overloaded` if too many wait for an export.
    """
    if format == "onnx":
        path = await exports.graph(Part(row.id, row.artifact))
    else:
        path = await run_in_threadpool(artifacts.folder, row.artifact) / "model.safetensors"
    return Download(path, f"{row.id}.{format}", f'"{row.id}.{format}"')
