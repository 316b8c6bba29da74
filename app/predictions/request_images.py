"""The images that a request sends, as files in a form or as one raw body."""

from __future__ import annotations

import asyncio
from tempfile import SpooledTemporaryFile
from types import TracebackType

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request

from app.http.multipart import MULTIPART
from app.inference import Reserve, Upload
from app.predictions.image_form import File, ImageForm
from core.errors import InvalidInput, UnsupportedMedia
from core.settings import Settings

RAW = ("image/", "application/octet-stream")
IN_MEMORY = 1 << 20
"""Bytes of a body that are kept in memory while the rest arrives."""


class RequestImages:
    """Spools a body beyond its first `IN_MEMORY` bytes to a file in the scratch folder.

    Memory is reserved for requests that are about to be answered (`uploads`). The file is closed when the
    block ends.
    """

    def __init__(
        self, request: Request, settings: Settings, reserve: Reserve, threads: CapacityLimiter
    ) -> None:
        """`reserve` reserves memory; `threads` read and write the file."""
        self._request, self._settings, self._reserve, self._threads = request, settings, reserve, threads
        self._spool: SpooledTemporaryFile[bytes] | None = None
        self._spooled = 0
        self._reserved = False
        self._whole: bytes | None = None
        self._kind = ""
        self._files: list[File] | None = None
        self.sizes: list[int] = []
        """Bytes of each image, once all have been received."""

    async def receive(self) -> None:
        """Receive the whole body. Raises `UnsupportedMedia`, `InvalidInput` or `BadImage` if unusable."""
        header = self._request.headers.get("content-type", "")
        self._kind = header.partition(";")[0].strip().lower()
        if self._kind == MULTIPART:
            await self._receive_form(header)
        elif self._kind.startswith(RAW):
            await self._receive_raw()
        else:
            raise UnsupportedMedia(
                f"send one image as the body, with its Content-Type, or several as {MULTIPART}"
            )

    async def uploads(self) -> list[Upload]:
        """Load the images into memory, in order. Raises `Overloaded` if other requests' images fill it."""
        if not self._reserved:
            self._reserve(sum(self.sizes))
            self._reserved = True
        if self._whole is not None:
            return [Upload(self._whole, media_type=self._kind)]
        if self._spooled <= IN_MEMORY:
            return self._read()
        return await run_sync(self._read, limiter=self._threads)

    def __enter__(self) -> RequestImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._spool is not None and self._spooled <= IN_MEMORY:
            self._spool.close()
        elif self._spool is not None:  # freeing hundreds of megabytes on disk takes time
            asyncio.get_running_loop().run_in_executor(None, self._spool.close)

    async def _receive_form(self, header: str) -> None:
        settings = self._settings
        form = ImageForm(header, most=settings.max_images_per_request, max_bytes=settings.max_image_bytes)
        more = True
        while more:
            piece, more = await self._piece()
            await self._spool_piece(form.feed(piece))
        self._files = form.finish()
        self.sizes = [file.size for file in self._files]

    async def _receive_raw(self) -> None:
        piece, more = await self._piece()
        if not more:  # the usual case
            self._whole, self.sizes = piece, [len(piece)]
        else:
            while more:
                await self._spool_piece(piece)
                piece, more = await self._piece()
            await self._spool_piece(piece)
            self.sizes = [self._spooled]
        if not self.sizes[0]:
            raise InvalidInput.field("/", "missing", "the body is empty; send an image")

    async def _piece(self) -> tuple[bytes, bool]:
        """Return the next piece and whether more follows. Starlette's `stream` costs ten times as much."""
        message = await self._request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return message.get("body", b""), message.get("more_body", False)

    async def _spool_piece(self, piece: bytes) -> None:
        if self._spool is None:
            scratch = str(self._settings.scratch)
            self._spool = SpooledTemporaryFile(IN_MEMORY, dir=scratch)  # noqa: SIM115  # closed with the block
        self._spooled += len(piece)
        if self._spooled <= IN_MEMORY:
            self._spool.write(piece)
        else:  # writing to disk may be slow
            await run_sync(self._spool.write, piece, limiter=self._threads)

    def _read(self) -> list[Upload]:
        assert self._spool is not None
        self._spool.seek(0)
        if self._files is None:
            return [Upload(self._spool.read(), media_type=self._kind)]
        return [Upload(self._spool.read(file.size), name=file.name) for file in self._files]
