"""Stored images as PNG, decoded as for training, a few at a time."""

from __future__ import annotations

from io import BytesIO
from typing import Annotated

import numpy as np
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from PIL import Image

from app.http.deps import opened
from app.inference.scheduling.limits import Waiters
from models.data.images.checks import decode_image
from models.data.images.limits import STORED
from models.data.store import Store
from models.runtime.images import thumbnail

MOST_DECODING = 2
"""Limit of images decoded at a time: 64 million pixels take half a gigabyte, and many seconds."""
MOST_WAITING = 128
"""Limit of requests that wait for one. A page shows 36."""


class Pictures:
    """Draws stored images as PNG, in few threads of its own: a page of large scans fills no others."""

    def __init__(self) -> None:
        self._threads = CapacityLimiter(MOST_DECODING)
        self._waiters = Waiters(MOST_WAITING, "requests are waiting for images as PNG", retry_seconds=2)

    async def draw(self, store: Store, number: int, side: int | None) -> bytes:
        """Return the sample's image: upright, in the data set's window, with at most `side` pixels on its
        longer side. Raises `Overloaded` if too many wait."""
        with self._waiters.another():
            return await run_sync(png, store, number, side, limiter=self._threads)


def png(store: Store, number: int, side: int | None) -> bytes:
    """The image that is resized for the network, its pixels alone; `side` None: in full size.

    The store's import has checked its bytes and pixels.
    """
    picture = decode_image(store.image_bytes(number), STORED, store.info.grey_window).image
    picture = thumbnail(picture, side=side or max(picture.size))
    buffer = BytesIO()
    # A colour profile, which the network ignores, would change what a browser shows.
    Image.fromarray(np.asarray(picture)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


PicturesDep = Annotated[Pictures, opened("pictures")]
