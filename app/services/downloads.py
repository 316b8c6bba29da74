"""A model's files for elsewhere: its weights as they are, its graph exported once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple

from app.services.models import onnx_key
from core.artifacts import Artifacts
from core.errors import Conflict, Unavailable
from core.tables import ModelRow

FileFormat = Literal["safetensors", "onnx"]
EXPORT_SECONDS = 600
ONNX_FILE = "model.onnx"
_exporting = Lock()  # one at a time: each takes about the memory of a training


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
    key = onnx_key(row.id)
    with _exporting:
        if not artifacts.exists(key):
            _export(artifacts.folder(row.artifact), artifacts, key)
    return artifacts.folder(key) / ONNX_FILE


def _export(model: Path, artifacts: Artifacts, key: str) -> None:
    with artifacts.writing(key) as folder:
        command = [sys.executable, "-m", "app.inference.files", str(model), str(folder / ONNX_FILE)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=EXPORT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable("the export did not end in time; try again when the service is idle") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            raise Conflict(f"this network cannot be exported to ONNX: {last}; download the safetensors file")


_FILES: dict[FileFormat, Callable[[ModelRow, Artifacts], Path]] = {"safetensors": _weights, "onnx": _graph}
