"""Threads that decode requests' images."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from app.inference.scheduling.wakeups import awaited
from app.inference.types import Engine, Upload
from core.errors import BadImage, FieldError
from models.data.checks import ImageError, ImageLimits


class Decoders:
    """A pool of one thread per available core, at least two."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0))), thread_name_prefix="decode")

    async def squares(self, uploads: Sequence[Upload], engine: Engine) -> NDArray[np.uint8]:
        """Decode to (n, 3, S, S) RGB, in order, as the engine's networks see them. Raises `BadImage`, which
        names each invalid image."""
        from app.inference.images import to_square  # imports torch, which the engine has already loaded

        size, window = engine.image_size, engine.grey_window
        decoding = [
            awaited(self._threads.submit(to_square, upload, size, self._limits, window)) for upload in uploads
        ]
        decoded: list[NDArray[np.uint8] | BaseException]
        if len(decoding) == 1:
            with suppress(ImageError):  # reported below, with its position
                return (await decoding[0])[None]
        decoded = await asyncio.gather(*decoding, return_exceptions=True)
        squares, faults = [], []
        for number, (upload, outcome) in enumerate(zip(uploads, decoded, strict=True)):
            if isinstance(outcome, ImageError):
                what = f"image {number + 1}" + (f" ({upload.name})" if upload.name else "")
                faults.append(FieldError(f"/images/{number}", outcome.code, f"{what} {outcome.detail}"))
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                squares.append(outcome)
        if faults:
            raise BadImage("; ".join(fault.detail for fault in faults[:3]), errors=tuple(faults))
        return np.stack(squares)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
