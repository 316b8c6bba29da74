"""From encoded images to scores: a place in the queue, decoding off the event loop, the pair, the batch."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.inference.cache import EngineCache
from app.inference.engines.choice import Check, graphs_serve, load_engine
from app.inference.engines.graph_store import Exports
from app.inference.scheduling.admission import Admission
from app.inference.scheduling.batcher import Batcher, ForwardRequest, Reservation
from app.inference.types import Engine, Explain, Pair, Scores, Upload
from core.errors import BadImage, FieldError, InvalidInput
from core.settings import Settings
from core.storage.artifacts import Artifacts
from models.data.images.limits import ImageError, ImageLimits

T = TypeVar("T")

SLOW_METHODS = frozenset({"fullgrad"})
"""Methods that cost far more than a forward pass and therefore have their own queue."""

SLOW_IMAGES = 8
"""Limit of images in a request with a slow method, and in a batch of them."""

_NOT_FINITE = (
    "the model's scores of these images are not finite numbers, as those of weights that are too large: "
    "predict with another model"
)


class ForwardResult(NamedTuple):
    """`squares` (n, 3, S, S) uint8 are the images as the networks saw them."""

    squares: NDArray[np.uint8]
    scores: Scores


class Inference:
    """The serving part of a process. Imports torch on first use."""

    def __init__(self, settings: Settings, artifacts: Artifacts, admission: Admission, check: Check) -> None:
        self._settings = settings
        self._limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
        self._fast = Batcher(
            max_batch=settings.predict_batch,
            max_waiting=settings.predict_queue,
            max_seconds=settings.predict_wait_seconds,
            name="predict",
        )
        self._slow = Batcher(max_batch=SLOW_IMAGES, max_waiting=4 * SLOW_IMAGES, name="explain")
        self.cache = EngineCache(
            partial(load_engine, settings, artifacts, check),
            max_bytes=settings.models_in_memory_bytes,
            most_waiting=max(1, settings.predict_in_flight // 2),
        )
        self.exports = Exports(artifacts)
        self.admission = admission
        cores = max(2, len(os.sched_getaffinity(0)))
        self._decoders = ThreadPoolExecutor(cores, thread_name_prefix="decode")
        # Separate threads, so that drawing for one client does not delay decoding for another.
        self._drawers = ThreadPoolExecutor(2, thread_name_prefix="draw")

    async def engine(self, pair: Pair) -> Engine:
        """Return the pair's engine; load it first if needed, before its images are in memory.

        Raises what the load raises, and `Overloaded` if too many already wait for loads.
        """
        engine = self.cache.ready(pair)
        if engine is None:
            with self.admission.without_place():
                engine = await self.cache.get(pair)
        return engine

    @contextmanager
    def admitted(self, images: int, nbytes: int, explain: Explain | None = None) -> Iterator[Reservation]:
        """Reserve what a request holds until its answer is written: places in the queue, and memory for
        `nbytes` of encoded images. Raises `Overloaded`."""
        with self.admission.enter(self._queue(explain), images, nbytes) as reservation:
            yield reservation

    async def forward(
        self,
        engine: Engine,
        uploads: Sequence[Upload],
        reservation: Reservation,
        explain: Explain | None = None,
        *,
        features: bool = False,
    ) -> ForwardResult:
        """Compute the images' scores, in order.
        Raises `BadImage`, `Unavailable`, what the engine raises, and `InvalidInput` for a model whose scores
        of these images are no finite numbers.

        Cancelling it frees its places in the queue.
        """
        squares = await self._decode(uploads, engine)
        waiting = self._queue(explain).submit(ForwardRequest(engine, squares, explain, features), reservation)
        scores = await asyncio.wrap_future(waiting)
        if not np.isfinite(scores.logits).all():
            raise InvalidInput.field("?model", "not-finite", _NOT_FINITE)
        return ForwardResult(squares, scores)

    async def _decode(self, uploads: Sequence[Upload], engine: Engine) -> NDArray[np.uint8]:
        """Decode to (n, 3, S, S) RGB, in order, as the engine's networks see them.
        Raises `BadImage`, which names each invalid image."""
        from app.inference.images import to_square  # imports torch, which the engine has already loaded

        size, window = engine.image_size, engine.grey_window
        decoded = await asyncio.gather(
            *(
                asyncio.wrap_future(self._decoders.submit(to_square, upload, size, self._limits, window))
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
        return squares[0][None] if len(squares) == 1 else np.stack(squares)

    def _queue(self, explain: Explain | None) -> Batcher:
        return self._slow if explain is not None and explain.method in SLOW_METHODS else self._fast

    async def draw(self, work: Callable[[], T]) -> T:
        """Run work that draws images or writes long answers off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._drawers, work)

    def export(self, pair: Pair) -> None:
        """Export the pair's graphs in the background, if they would serve here. The next load takes them."""
        if graphs_serve(self._settings):
            self.exports.begin(pair)

    @property
    def waiting(self) -> int:
        """Images waiting for an engine, for the metrics."""
        return self._fast.waiting + self._slow.waiting

    @property
    def loaded(self) -> Mapping[str, int]:
        """Number of pairs in memory, by kind of engine."""
        return Counter(engine.name for engine in self.cache.engines.values())

    def close(self) -> None:
        """Answer the accepted requests, then end every thread."""
        self.exports.close()
        self.cache.close()
        self._fast.close()
        self._slow.close()
        self._decoders.shutdown(cancel_futures=True)
        self._drawers.shutdown(cancel_futures=True)
