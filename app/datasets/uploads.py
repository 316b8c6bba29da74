"""Uploads: streamed to scratch space and hashed on the way, then moved to the artifacts."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.http.multipart import UploadForm
from app.operations.metrics import Metrics
from core.errors import InvalidInput, StorageFull
from core.storage.artifacts import Artifacts

ARCHIVE = "archive"
BLOCK = 1 << 20
"""Bytes collected before they are hashed and written off the event loop."""


@dataclass(frozen=True)
class Upload:
    """A completely received file. `path` is in scratch space and is removed when the request ends."""

    path: Path
    sha256: str
    fields: dict[str, str]


class Spool:
    """A file that is hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        self._file: BinaryIO = path.open("wb")

    def write(self, block: bytes | bytearray) -> None:
        self._digest.update(block)
        self._file.write(block)
        self.size += len(block)

    def close(self) -> str:
        """Close the file and return the SHA-256 of its content, in hex."""
        self._file.close()
        return self._digest.hexdigest()


@asynccontextmanager
async def receive_upload(request: Request, scratch: Path, *, metrics: Metrics) -> AsyncIterator[Upload]:
    """Receive the single file of a multipart body and its fields, in any order.

    The scratch copy is removed at the end of the block, even if the client disconnects.
    """
    root = scratch / "uploads"
    root.mkdir(parents=True, exist_ok=True)
    _check_space(request, root)
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield await _receive(request, folder / ARCHIVE, metrics=metrics)
    finally:
        # Removing a large file takes most of a second; shielded against another cancellation.
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


async def _receive(request: Request, path: Path, *, metrics: Metrics) -> Upload:
    form, spool, block = UploadForm(request.headers.get("content-type", "")), Spool(path), bytearray()
    try:
        async for chunk in request.stream():
            block += form.feed(chunk)
            if len(block) >= BLOCK:
                await run_in_threadpool(spool.write, block)
                block = bytearray()
        form.finish()
        await run_in_threadpool(spool.write, block)
    finally:
        digest = spool.close()
    if not spool.size:
        raise InvalidInput.field("/file", "empty", "the file is empty; send a zip, tar, tar.gz or tar.zst")
    metrics.upload_bytes.inc(spool.size)
    return Upload(path, digest, form.fields)


def store(upload: Upload, artifacts: Artifacts, key: str) -> None:
    """Store the file as an artifact: a folder with `archive`."""
    with artifacts.writing(key) as folder:
        shutil.move(upload.path, folder / ARCHIVE)  # a rename if both are on one file system


def _check_space(request: Request, root: Path) -> None:
    """Refuse an upload that cannot fit at once, instead of filling the disk first."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > shutil.disk_usage(root).free:
        raise StorageFull("there is not enough space left for an upload of this size; have more added")
