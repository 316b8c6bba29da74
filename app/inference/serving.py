"""From encoded images to scores: a place in the queue, decoding off the event loop, the pair, the batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.inference.engines.choice import Check, Engines, Stored, all_there, nothing_stored
from app.inference.engines.graph_store import Exports
from app.inference.image_decoders import Decoders
from app.inference.scheduling.batcher import Ask, Batcher
from app.inference.scheduling.limits import ImageMemory
from app.inference.scheduling.wakeups import awaited
from app.inference.types import Engine, Explain, Pair, Scores, Upload
from core.artifacts import Artifacts
from core.errors import InvalidInput
from core.settings import Settings
from models.data.checks import ImageLimits

T = TypeVar("T")

SLOW_METHODS = frozenset(
    {"ablationcam", "eigencam", "eigengradcam", "fullgrad", "kpcacam", "scorecam", "segeigencam"}
)
"""Methods that cost far more than a forward pass and therefore have their own queue."""

SLOW_IMAGES = 8
"""Limit of images in a request with a slow method, and in a batch of them."""


class Seen(NamedTuple):
    """`squares` (n, 3, S, S) uint8 are the images as the networks saw them."""

    squares: NDArray[np.uint8]
    scores: Scores


class Inference:
    """The serving part of a process. Imports torch on first use."""

    def __init__(
        self,
        settings: Settings,
        artifacts: Artifacts,
        stored: Stored = nothing_stored,
        check: Check = all_there,
    ) -> None:
        self._limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
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
            check=check,
        )
        self._cache, self._upgrades = self._engines.cache, self._engines.upgrades  # used for every answer
        self.exports = Exports(artifacts)
        self.memory = ImageMemory(settings.predict_image_bytes)
        self._decoders = Decoders(self._limits)
        # Separate threads, so that drawing for one client does not delay decoding for another.
        self._drawers = ThreadPoolExecutor(2, thread_name_prefix="draw")

    async def see(self, pair: Pair, uploads: Sequence[Upload], explain: Explain | None = None) -> Seen:
        """Compute the images' scores, in order. Raises `BadImage`, `Overloaded`, and what a load raises.

        Cancelling it frees its places in the queue.
        """
        lane = self._lane(explain)
        engine = await self.load(pair)  # before it takes places, which are for requests that can be answered
        with lane.room(len(uploads)) as room:
            squares = await self._decoders.squares(uploads, engine)
            answer = lane.submit(Ask(engine, squares, explain), room)
        scores = await awaited(answer)
        self._upgrades.show(pair, squares)
        return Seen(squares, scores)

    def is_loaded(self, pair: Pair) -> bool:
        """Whether `load` would return without waiting."""
        return self._cache.peek(pair) is not None

    async def load(self, pair: Pair) -> Engine:
        """Return the engine of a pair, loading it if needed. Raises `Overloaded` if too many wait for loads,
        and what a load raises."""
        return self._cache.ready(pair) or await self._cache.get(pair)

    def load_ahead(self, pair: Pair, *, seconds: float) -> None:
        """Load a pair before any request needs it. Blocks for at most `seconds`, so call it in a thread.

        Raises what the load raises, `TimeoutError`, and `CancelledError` when the service shuts down.
        """
        self._cache.begin(pair).result(seconds)

    def _lane(self, explain: Explain | None) -> Batcher:
        return self._slow if explain is not None and explain.method in SLOW_METHODS else self._fast

    def check_room(self, images: int, explain: Explain | None = None) -> None:
        """Raise `Overloaded` if `see` would: a refusal should cost as little as possible."""
        self._lane(explain).check(images)

    async def check_method(self, explain: Explain, *, images: int) -> None:
        """Raise `InvalidInput` for an unknown saliency method, or too many images for a slow one."""
        known = await asyncio.to_thread(_methods)
        if explain.method not in known:
            raise InvalidInput.field(
                "?method", "unknown-method", f"there is no {explain.method!r}; use one of {', '.join(known)}"
            )
        if explain.method in SLOW_METHODS and images > SLOW_IMAGES:
            raise InvalidInput.field(
                "?method", "too-many-images", f"{explain.method} takes at most {SLOW_IMAGES} images at a time"
            )

    async def draw(self, work: Callable[[], T]) -> T:
        """Run work that draws images or writes long answers off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._drawers, work)

    def forget(self, model_id: str) -> None:
        """Drop the engines of a model that is being deleted."""
        self._engines.forget(model_id)

    @property
    def waiting(self) -> int:
        """Images waiting for an engine, for the metrics."""
        return self._fast.waiting + self._slow.waiting

    @property
    def loaded(self) -> Mapping[str, int]:
        """Number of pairs in memory, by kind of engine."""
        return Counter(engine.name for engine in self._cache.engines)

    def close(self) -> None:
        """Answer the accepted requests, then end every thread."""
        self.exports.stop()
        self._engines.close()
        self._fast.close()
        self._slow.close()
        self._decoders.close()
        self._drawers.shutdown(cancel_futures=True)


def _methods() -> tuple[str, ...]:
    from models.saliency import METHODS  # imports torch

    return METHODS
