"""From encoded images to scores: room, decoding off the event loop, the loaded pair, the batch."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.inference.batcher import Ask, Batcher
from app.inference.cache import EngineCache
from app.inference.calibration import Calibration
from app.inference.courier import awaited
from app.inference.decoders import Decoders
from app.inference.graphs import Exports
from app.inference.memory import ImageMemory
from app.inference.reductions import Reductions
from app.inference.shapes import Engine, Explain, Ground, Pair, Scores, Upload
from app.inference.turns import Turns
from app.inference.upgrades import IMAGES, Proven, Squares, Upgrades
from core.artifacts import Artifacts
from core.errors import Conflict, InvalidInput
from core.loading import loading
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


def _nothing(model: str, count: int) -> list[bytes]:
    return []


def _no_ground(pair: Pair) -> Ground:
    raise Conflict("there are no data sets here to measure it on")


class Inference:
    """The serving half of a process. Imports torch when it is first used, and not before."""

    def __init__(
        self,
        settings: Settings,
        artifacts: Artifacts,
        stored: Callable[[str, int], list[bytes]] = _nothing,
        ground: Callable[[Pair], Ground] = _no_ground,
    ) -> None:
        """`stored(model, n)`: up to n encoded images of the data set that a model was trained on.

        `ground(pair)`: what it was calibrated on, or a `Conflict` that says why there is nothing.
        """
        self._settings = settings
        self._artifacts = artifacts
        self._stored = stored
        self._threads = settings.threads or len(os.sched_getaffinity(0))
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
        self._cache = EngineCache(
            self._load,
            max_bytes=settings.models_in_memory_bytes,
            most_waiting=max(1, settings.predict_in_flight // 2),
            loaded=self._loaded,
        )
        self.exports = Exports(artifacts)
        self.memory = ImageMemory(settings.predict_image_bytes)
        self._upgrades = Upgrades(
            artifacts,
            possible=_possible,
            prove=self._prove,
            samples=self._samples,
            current=self._cache.peek,
            replace=self._cache.replace,
        )
        self._reductions = Reductions(
            ground=ground,
            reduce=self._reduce,
            busy=lambda: self.waiting > 0,
            current=self._cache.peek,
            replace=self._cache.replace,
        )
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
        self._upgrades.forget(model_id)
        self._cache.drop(model_id)

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
        self._reductions.close()
        self._upgrades.close()
        self._fast.close()
        self._slow.close()
        self._cache.close()
        self._decoders.close()
        self._drawers.shutdown(cancel_futures=True)

    def _load(self, pair: Pair) -> Engine:
        with loading():
            from app.inference.engine import load  # torch comes with it

        engine = load(pair, self._artifacts, device=self._settings.device, threads=self._threads)
        _settle()
        return engine

    def _loaded(self, pair: Pair, engine: Engine) -> None:
        if self._settings.engine != "torch":
            self._upgrades.consider(pair, engine)
        if self._settings.engine.startswith("openvino"):
            self._reductions.consider(pair, engine)

    def _prove(self, pair: Pair, engine: Engine, images: Squares) -> Proven:
        from app.inference.proving import prove  # torch and ONNX Runtime come with it

        proven = prove(pair, engine, images, artifacts=self._artifacts, threads=self._threads)
        _settle()
        return proven

    def _reduce(
        self, pair: Pair, engine: Engine, ground: Ground, *, pause: Callable[[], None], stop: Event
    ) -> Proven:
        from app.inference.reducing import reduce  # torch, ONNX Runtime and OpenVINO come with it

        proven = reduce(
            pair,
            engine,
            ground,
            pause=pause,
            stop=stop,
            int8=self._settings.engine == "openvino-int8",
            artifacts=self._artifacts,
            scratch=self._settings.scratch,
            threads=self._threads,
        )
        _settle()
        return proven

    def _samples(self, pair: Pair, size: int) -> list[Squares]:
        """Images of the model's data set as squares; what does not decode any more is left out."""
        from app.inference.images import to_square

        squares = []
        for data in self._stored(pair.model.id, IMAGES):
            with suppress(ImageError):
                squares.append(to_square(Upload(data), size, self._limits))
        return squares


def _possible(engine: Engine) -> bool:
    from app.inference.proving import possible  # torch and ONNX Runtime come with it

    return possible(engine)


def _settle() -> None:
    """What was loaded stays for long: out of sight of the collector, whose full runs pause for 90 ms."""
    gc.collect()
    gc.freeze()
    # A request makes hundreds of objects that the counting of references ends: to look for cycles after
    # each 700 of them, the default, takes 5 % of the time.
    gc.set_threshold(20_000, 10, 10)


def _methods() -> tuple[str, ...]:
    from models.saliency import METHODS  # torch comes with it

    return METHODS
