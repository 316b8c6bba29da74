"""Images that visitors drop on a page, from their first byte until the page asks for them: for a minute, and
bounded in number and in sum. What an image has beyond its first megabyte is on disk."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile

LARGEST_IMAGE = 32 * 2**20
"""Bytes. The API has its own limit; this one bounds what the dashboard keeps."""
SECONDS = 60.0
"""How long an image may take to arrive, and how long it is kept then."""
_IN_MEMORY = 1 << 20
_MOST_IMAGES = 64
_MOST_BYTES = 16 * LARGEST_IMAGE


class TooManyImages(Exception):
    """So many images are kept, or arrive, that there is no room for another."""


class ImageTooLarge(Exception):
    """An image has more bytes than `LARGEST_IMAGE`."""


@dataclass(frozen=True)
class DroppedImage:
    """An image that a visitor dropped to try a model on."""

    name: str
    content: bytes


@dataclass(eq=False)
class _Spool:
    name: str
    size: int = 0
    file: SpooledTemporaryFile[bytes] = field(default_factory=lambda: SpooledTemporaryFile[bytes](_IN_MEMORY))


class DroppedImages:
    """The images of all visitors. For one event loop."""

    def __init__(
        self, *, most_images: int = _MOST_IMAGES, most_bytes: int = _MOST_BYTES, seconds: float = SECONDS
    ) -> None:
        self._most_images, self._most_bytes, self._seconds = most_images, most_bytes, seconds
        self._spools: set[_Spool] = set()
        """Those that arrive too."""
        self._complete: dict[str, _Spool] = {}

    @property
    def size(self) -> int:
        """Bytes of all images, those that arrive included."""
        return sum(spool.size for spool in self._spools)

    async def receive(self, name: str, pieces: AsyncIterator[bytes]) -> str:
        """Keep an image under an unguessable token.

        Raises `TooManyImages`, `ImageTooLarge`, `TimeoutError` and what `pieces` raises.
        """
        if len(self._spools) >= self._most_images:
            raise TooManyImages
        spool = _Spool(name)
        self._spools.add(spool)
        try:
            async with asyncio.timeout(self._seconds):
                async for piece in pieces:
                    await self._append(spool, piece)
        except BaseException:
            self._drop(spool)
            raise
        token = uuid.uuid4().hex
        self._complete[token] = spool
        asyncio.get_running_loop().call_later(self._seconds, self._forget, token)
        return token

    def take(self, token: str) -> DroppedImage | None:
        """The image, which is kept no longer."""
        spool = self._complete.pop(token, None)
        if spool is None:
            return None
        spool.file.seek(0)
        image = DroppedImage(spool.name, spool.file.read())
        self._drop(spool)
        return image

    async def _append(self, spool: _Spool, piece: bytes) -> None:
        spool.size += len(piece)
        if spool.size > LARGEST_IMAGE:
            raise ImageTooLarge
        if self.size > self._most_bytes:
            raise TooManyImages
        if spool.size <= _IN_MEMORY:
            spool.file.write(piece)
        else:  # writing to disk may be slow
            await asyncio.to_thread(spool.file.write, piece)

    def _forget(self, token: str) -> None:
        if (spool := self._complete.pop(token, None)) is not None:
            self._drop(spool)

    def _drop(self, spool: _Spool) -> None:
        self._spools.discard(spool)
        spool.file.close()


dropped_images = DroppedImages()
