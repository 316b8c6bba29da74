"""From encoded images to scores: room, decoding off the event loop, the loaded pair, the batch."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.inference.batcher import Ask, Batcher
from app.inference.cache import EngineCache
from app.inference.shapes import Engine, Explain, Pair, Scores, Upload
from core.artifacts import Artifacts
from core.errors import BadImage, FieldError, InvalidInput
from core.settings import Settings
from models.data.checks import ImageError, ImageLimits

T = TypeVar("T")

SLOW_METHODS = frozenset(
    {"ablationcam", "eigencam", "eigengradcam", "fullgrad", "kpcacam", "scorecam", "segeigencam"}
)
"""Methods that cost far more than a forward pass: they wait in a line of their own."""

SLOW_IMAGES = 8
"""Most images that a request may bring to a slow method, and most of one of its batches."""


class Seen(NamedTuple):
    """`squares` (n, 3, S, S) uint8 is what the networks saw."""

    squares: NDArray[np.uint8]
    scores: Scores


class Inference:
    """The serving half of a process. Imports torch when it is first used, and not before."""

    def __init__(self, settings: Settings, artifacts: Artifacts) -> None:
        self._settings = settings
        self._artifacts = artifacts
        self._limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
        self._fast = Batcher(
            max_batch=settings.predict_batch, max_waiting=settings.predict_queue, name="predict"
        )
        self._slow = Batcher(max_batch=SLOW_IMAGES, max_waiting=4 * SLOW_IMAGES, name="explain")
        self._cache = EngineCache(self._load, max_bytes=settings.models_in_memory_bytes)
        self._decoders = ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0))), thread_name_prefix="decode")
        # Of their own: to draw for one client must not keep the image of another from being decoded.
        self._drawers = ThreadPoolExecutor(2, thread_name_prefix="draw")

    async def see(self, pair: Pair, uploads: Sequence[Upload], explain: Explain | None = None) -> Seen:
        """Scores of the images, in order. Raises `BadImage`, `Overloaded`, and what a load raises.

        Cancelling it gives its place in the queue back.
        """
        lane = self._slow if explain is not None and explain.method in SLOW_METHODS else self._fast
        with lane.room(len(uploads)):
            engine = await self._cache.get(pair)
            squares = await self._decode(uploads, engine.image_size)
        scores = await asyncio.wrap_future(lane.submit(Ask(engine, squares, explain)))
        return Seen(squares, scores)

    async def check_method(self, explain: Explain, *, images: int) -> None:
        """Raise `InvalidInput` for a saliency method that there is not, or too many images for a slow one."""
        known = await asyncio.to_thread(_methods)
        if explain.method not in known:
            raise InvalidInput.field(
                "?method", "unknown-method", f"there is no {explain.method!r}; there are {', '.join(known)}"
            )
        if explain.method in SLOW_METHODS and images > SLOW_IMAGES:
            raise InvalidInput.field(
                "?method", "too-many-images", f"{explain.method} takes at most {SLOW_IMAGES} images at a time"
            )

    async def draw(self, work: Callable[[], T]) -> T:
        """Run what makes pictures off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._drawers, work)

    def forget(self, model_id: str) -> None:
        """Drop what is loaded of a model that is being deleted."""
        self._cache.drop(model_id)

    @property
    def waiting(self) -> int:
        """Images in the two queues, for the metrics."""
        return self._fast.waiting + self._slow.waiting

    def close(self) -> None:
        """Answer what was accepted, then end every thread."""
        self._fast.close()
        self._slow.close()
        self._cache.close()
        self._decoders.shutdown(cancel_futures=True)
        self._drawers.shutdown(cancel_futures=True)

    def _load(self, pair: Pair) -> Engine:
        from app.inference.engine import load  # torch comes with it

        return load(pair, self._artifacts, device=self._settings.device, threads=self._settings.threads)

    async def _decode(self, uploads: Sequence[Upload], size: int) -> NDArray[np.uint8]:
        from app.inference.images import to_square  # torch comes with it, and an engine has brought it

        loop = asyncio.get_running_loop()
        decoded = await asyncio.gather(
            *(
                loop.run_in_executor(self._decoders, to_square, upload, size, self._limits)
                for upload in uploads
            ),
            return_exceptions=True,
        )
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


def _methods() -> tuple[str, ...]:
    from models.saliency import METHODS  # torch comes with it

    return METHODS


def check_forward() -> None:
    """Raise unless a real forward pass works in this process. The first call imports torch: seconds."""
    from app.inference.engine import probe

    probe()
