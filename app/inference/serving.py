"""From encoded images to scores: room, decoding off the event loop, the loaded pair, the batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.inference.batcher import Ask, Batcher
from app.inference.calibration import Calibration
from app.inference.courier import awaited
from app.inference.decoders import Decoders
from app.inference.engines import Engines, FindGround, Stored, no_ground, nothing_stored
from app.inference.graphs import Exports
from app.inference.memory import ImageMemory
from app.inference.shapes import Engine, Explain, Pair, Scores, Upload
from app.inference.turns import Turns
from core.artifacts import Artifacts
from core.errors import InvalidInput
from core.settings import Settings
from models.data.checks import ImageError, ImageLimits

T = TypeVar("T")

SLOW_METHODS = frozenset(
    {"ablationcam", "eigencam", "eigengradcam", "fullgrad", "kpcacam", "scorecam", "segeigencam"}
)
"""Methods that cost far more than a forward pass: they wait in a line of their own."""

SLOW_IMAGES = 8
"""Most images that a request may bring to a slow method, and most of one of its batches."""


SMALL_BYTES = 8 * 1024
"""An image of so many bytes at most, and of `SMALL_PIXELS`, may be decoded on the event loop."""
SMALL_PIXELS = 96 * 96
"""Decoded in a tenth of a millisecond; a file of few bytes may claim any number."""


class Seen(NamedTuple):
    """`squares` (n, 3, S, S) uint8 is what the networks saw; `calibration` is the own one of the engine that
    answered, where it has one."""

    squares: NDArray[np.uint8]
    scores: Scores
    calibration: Calibration | None = None


class Inference:
    """The serving half of a process. Imports torch when it is first used, and not before."""

    def __init__(
        self,
        settings: Settings,
        artifacts: Artifacts,
        stored: Stored = nothing_stored,
        ground: FindGround = no_ground,
    ) -> None:
        self._limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
        self._small = replace(self._limits, max_pixels=min(SMALL_PIXELS, self._limits.max_pixels))
        self._turns = Turns()
        self._fast = Batcher(
            max_batch=settings.predict_batch,
            max_waiting=settings.predict_queue,
            max_seconds=settings.predict_wait_seconds,
            name="predict",
        )
        self._slow = Batcher(max_batch=SLOW_IMAGES, max_waiting=4 * SLOW_IMAGES, name="explain")
        self._engines = Engines(
            settings,
            artifacts,
            self._limits,
            stored=stored,
            ground=ground,
            busy=lambda: self.waiting > 0,
        )
        self._cache, self._upgrades = self._engines.cache, self._engines.upgrades  # each answer asks them
        self.exports = Exports(artifacts)
        self.memory = ImageMemory(settings.predict_image_bytes)
        self._decoders = Decoders(self._limits)
        # Of their own: to draw for one client must not keep the image of another from being decoded.
        self._drawers = ThreadPoolExecutor(2, thread_name_prefix="draw")

    async def see(self, pair: Pair, uploads: Sequence[Upload], explain: Explain | None = None) -> Seen:
        """Scores of the images, in order. Raises `BadImage`, `Overloaded`, and what a load raises.

        Cancelling it gives its place in the queue back.
        """
        lane = self._lane(explain)
        engine = self._quick(pair, [len(upload.data) for upload in uploads], explain)
        if engine is not None:
            with suppress(ImageError):  # it is larger than it seemed, or is told below, with its place
                return await self._see_now(pair, engine, uploads[0])
        engine = await self.load(pair)  # before it has a place in the line: that is for who can be answered
        with lane.room(len(uploads)) as room:
            squares = await self._decoders.squares(uploads, engine.image_size)
            answer = lane.submit(Ask(engine, squares, explain), room)
        scores = await awaited(answer)
        self._upgrades.show(pair, squares)
        return Seen(squares, scores, engine.calibration)

    def is_loaded(self, pair: Pair) -> bool:
        """Whether `load` would wait for nothing."""
        return self._cache.peek(pair) is not None

    async def load(self, pair: Pair) -> Engine:
        """The engine of a pair, in memory. Raises `Overloaded` where too many wait for loads, and what a load
        raises."""
        return self._cache.ready(pair) or await self._cache.get(pair)

    def load_ahead(self, pair: Pair, *, seconds: float) -> None:
        """Have a pair in memory before anybody asks for it. From a thread; blocks for so long at most.

        Raises what the load raises, `TimeoutError`, and `CancelledError` at the end of the service.
        """
        self._cache.begin(pair).result(seconds)

    def at_once(self, pair: Pair, sizes: Sequence[int], explain: Explain | None) -> bool:
        """Whether `see` would be done in a turn or two of the event loop: nobody can leave before.

        `sizes`: bytes of each image.
        """
        return self._quick(pair, sizes, explain) is not None

    def _quick(self, pair: Pair, sizes: Sequence[int], explain: Explain | None) -> Engine | None:
        """The engine, where it is quick and what is asked of it may be done on the event loop."""
        if explain is not None or len(sizes) != 1 or sizes[0] > SMALL_BYTES:
            return None
        engine = self._cache.ready(pair)
        return engine if engine is not None and engine.quick else None

    def _lane(self, explain: Explain | None) -> Batcher:
        return self._slow if explain is not None and explain.method in SLOW_METHODS else self._fast

    async def _see_now(self, pair: Pair, engine: Engine, upload: Upload) -> Seen:
        """One small image for a quick engine: decoded here, and run soon. Raises `ImageError`."""
        from app.inference.images import to_square  # torch comes with it, and an engine has brought it

        squares = to_square(upload, engine.image_size, self._small)[None]
        return Seen(squares, await self._turns.submit(Ask(engine, squares)), engine.calibration)

    def calibration(self, pair: Pair, *, stands_for: str | None) -> Calibration | None:
        """That of the engine which answers for a pair now, where it has one of its own.

        One that was measured on another split than the model's calibration of today (`stands_for`) goes, and
        torch answers until another is measured.
        """
        engine = self._cache.ready(pair)
        if engine is None or engine.calibration is None:
            return None
        if engine.calibration.stands_for != stands_for:
            self._cache.drop(pair.model.id)
            return None
        return engine.calibration

    def check_room(self, images: int, explain: Explain | None = None) -> None:
        """Raise `Overloaded` at once where `see` would: a refusal should cost as little as it can."""
        self._lane(explain).check(images)

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
        self._engines.forget(model_id)

    @property
    def waiting(self) -> int:
        """Images that wait for an engine, for the metrics."""
        return self._fast.waiting + self._slow.waiting + self._turns.waiting

    @property
    def loaded(self) -> Mapping[str, int]:
        """How many pairs each kind of engine has in memory."""
        return Counter(engine.name for engine in self._cache.engines)

    def close(self) -> None:
        """Answer what was accepted, then end every thread."""
        self.exports.stop()
        self._engines.close()
        self._fast.close()
        self._slow.close()
        self._decoders.close()
        self._drawers.shutdown(cancel_futures=True)


def _methods() -> tuple[str, ...]:
    from models.saliency import METHODS  # torch comes with it

    return METHODS
