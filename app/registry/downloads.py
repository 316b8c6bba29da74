"""Downloads of a model's files: the weights as stored, and an ONNX graph that is exported once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, NamedTuple

from starlette.concurrency import run_in_threadpool

from app.deps import Services
from app.inference import Part
from core.tables import ModelRow

FileFormat = Literal["safetensors", "onnx"]


class Download(NamedTuple):
    path: Path
    filename: str
    etag: str
    """Strong validator, since a model's files never change."""


async def prepare(services: Services, row: ModelRow, format: FileFormat) -> Download:
    """Return the file on the local disk. The first ONNX download exports it, which may take minutes.

    Raises `Conflict` if the model cannot be exported, and `Overloaded` if too many wait for an export.
    """
    return Download(await _FILES[format](services, row), f"{row.id}.{format}", f'"{row.id}.{format}"')


async def _weights(services: Services, row: ModelRow) -> Path:
    return await run_in_threadpool(services.artifacts.folder, row.artifact) / "model.safetensors"


async def _graph(services: Services, row: ModelRow) -> Path:
    return await services.inference.exports.graph(Part(row.id, row.artifact))


_FILES: dict[FileFormat, Callable[[Services, ModelRow], Awaitable[Path]]] = {
    "safetensors": _weights,
    "onnx": _graph,
}
