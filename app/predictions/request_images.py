"""The images that a request sends, as files in a form or as one raw body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import NamedTuple

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request

from app.http.multipart import MULTIPART, PartParser, pointer
from app.inference import Upload
from core.errors import BadImage, FieldError, InvalidInput, UnsupportedMedia
from core.settings import Settings
from models.data.report import FileCode

RAW = ("image/", "application/dicom", "application/octet-stream")
IN_MEMORY = 1 << 20
"""Bytes of a body that are kept in memory while the rest arrives."""


class RequestImages:
    """Spools a body beyond its first `IN_MEMORY` bytes to a file in the scratch folder, which is closed when
    the block ends."""

    def __init__(self, request: Request, settings: Settings, threads: CapacityLimiter) -> None:
        """`threads` read and write the file."""
        self._request, self._settings, self._threads = request, settings, threads
        self._spool = SpooledTemporaryFile[bytes](IN_MEMORY, dir=str(settings.scratch))
        self.nbytes = 0
        """Bytes of the images received so far."""
        self._images: list[Upload] = []
        """Without their content, which is in the file."""
        self.sizes: list[int] = []
        """Bytes of each image, once all have been received."""

    async def receive(self) -> None:
        """Receive the whole body. Raises `UnsupportedMedia`, `InvalidInput` or `BadImage` if unusable."""
        header = self._request.headers.get("content-type", "")
        media_type = header.partition(";")[0].strip().lower()
        if media_type == MULTIPART:
            settings = self._settings
            form = ImageForm(header, most=settings.max_images_per_request, max_bytes=settings.max_image_bytes)
            await self._receive(form.feed)
            files = form.finish()
            self.sizes = [file.size for file in files]
            self._images = [Upload(b"", name=file.name) for file in files]
        elif media_type.startswith(RAW):
            await self._receive(bytes)
            if not self.nbytes:
                raise InvalidInput.field("/", "missing", "the body is empty; send an image")
            self.sizes = [self.nbytes]
            self._images = [Upload(b"", media_type=media_type)]
        else:
            raise UnsupportedMedia(
                f"send one image as the body, with its Content-Type, or several as {MULTIPART}"
            )

    async def uploads(self) -> list[Upload]:
        """Load the images into memory, in order."""
        if self.nbytes <= IN_MEMORY:
            return self._read()
        return await run_sync(self._read, limiter=self._threads)

    def __enter__(self) -> RequestImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.nbytes <= IN_MEMORY:
            self._spool.close()
        else:  # freeing hundreds of megabytes on disk takes time
            asyncio.get_running_loop().run_in_executor(None, self._spool.close)

    async def _receive(self, content_of: Callable[[bytes], bytes]) -> None:
        """Spool the images' bytes in each piece of the body. Starlette's `stream` costs ten times as much."""
        more = True
        while more:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more = message.get("more_body", False)
            content = content_of(message.get("body", b""))
            self.nbytes += len(content)
            if self.nbytes <= IN_MEMORY:
                self._spool.write(content)
            else:  # writing to disk may be slow
                await run_sync(self._spool.write, content, limiter=self._threads)

    def _read(self) -> list[Upload]:
        self._spool.seek(0)
        pairs = zip(self._images, self.sizes, strict=True)
        return [image._replace(content=self._spool.read(size)) for image, size in pairs]


class File(NamedTuple):
    """A file of the form: `name` as sent by the client, `size` in bytes."""

    name: str
    size: int


class ImageForm(PartParser):
    """A form of images: takes the body piece by piece as it arrives, and returns the bytes of its files.

    Raises `InvalidInput` for a malformed body. Returns no more bytes of a file once it exceeds `max_bytes`.
    """

    def __init__(self, content_type: str, *, most: int, max_bytes: int) -> None:
        self._most, self._max_bytes = most, max_bytes
        super().__init__(content_type)
        self._files: list[File] = []
        self._filename, self._size = "", 0

    def finish(self) -> list[File]:
        """Return the files in order, once the body has ended. Raises `BadImage` if one is too large."""
        self.check_ended()
        if not self._files:
            raise InvalidInput.field("/file", "missing", "there is no image in the body; send at least one")
        faults = tuple(
            FieldError(
                f"/images/{number}",
                FileCode.TOO_LARGE,
                f"image {number + 1} ({name}) has {size} bytes, more than the limit of {self._max_bytes}: "
                "shrink it",
            )
            for number, (name, size) in enumerate(self._files)
            if size > self._max_bytes
        )
        if faults:
            raise BadImage("; ".join(fault.detail for fault in faults[:3]), errors=faults)
        return self._files

    def fault(self, code: str, detail: str) -> InvalidInput:
        return InvalidInput.field(
            "/", "malformed-multipart", f"{detail}; send at most {self._most} images as {MULTIPART}"
        )

    def part_begun(self) -> None:
        if len(self._files) >= self._most:
            raise self.fault("too-many-files", "there are too many files")

    def part_named(self, name: str, filename: str | None) -> None:
        if filename is None:
            raise InvalidInput.field(
                pointer(name), "not-a-file", f"{name} is not a file; send everything but images in the query"
            )
        self._filename, self._size = filename, 0

    def part_data(self, content: bytes) -> None:
        self._size += len(content)
        if self._size <= self._max_bytes:
            self.pieces.append(content)

    def part_ended(self) -> None:
        self._files.append(File(self._filename, self._size))
