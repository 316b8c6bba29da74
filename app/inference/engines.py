"""Engines of pairs: loaded when they are asked for, then replaced by faster ones or by less precise ones."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import suppress
from threading import Event

from app.inference.cache import EngineCache
from app.inference.reductions import Reductions
from app.inference.shapes import Engine, Ground, Pair, Upload
from app.inference.upgrades import IMAGES, Proven, Squares, Upgrades
from core.artifacts import Artifacts
from core.errors import Conflict
from core.loading import loading
from core.settings import Settings
from models.data.checks import ImageError, ImageLimits

Stored = Callable[[str, int], list[bytes]]
"""`stored(model, n)`: up to n encoded images of the data set that a model was trained on."""
FindGround = Callable[[Pair], Ground]
"""What a pair was calibrated on, or a `Conflict` that says why there is nothing."""


def nothing_stored(model: str, count: int) -> list[bytes]:
    return []


def no_ground(pair: Pair) -> Ground:
    raise Conflict("there are no data sets here to measure it on")


class Engines:
    """The `cache`, what loads into it, and what looks for better engines than were loaded."""

    def __init__(
        self,
        settings: Settings,
        artifacts: Artifacts,
        limits: ImageLimits,
        *,
        stored: Stored,
        ground: FindGround,
        busy: Callable[[], bool],
    ) -> None:
        """`limits` of stored images; `busy` says that predictions wait, which a measurement gives way to."""
        self._settings, self._artifacts, self._limits, self._stored = settings, artifacts, limits, stored
        self._threads = settings.threads or len(os.sched_getaffinity(0))
        self.cache = EngineCache(
            self._load,
            max_bytes=settings.models_in_memory_bytes,
            most_waiting=max(1, settings.predict_in_flight // 2),
            loaded=self._loaded,
        )
        self.upgrades = Upgrades(
            artifacts,
            possible=_possible,
            prove=self._prove,
            samples=self._samples,
            current=self.cache.peek,
            replace=self.cache.replace,
        )
        self._reductions = Reductions(
            ground=ground,
            reduce=self._reduce,
            busy=busy,
            current=self.cache.peek,
            replace=self.cache.replace,
        )

    def forget(self, model_id: str) -> None:
        """Drop what is loaded of a model that is being deleted, and look for nothing better."""
        self.upgrades.forget(model_id)
        self.cache.drop(model_id)

    def close(self) -> None:
        """End every thread. What was asked of an engine before is answered by it."""
        self._reductions.close()
        self.upgrades.close()
        self.cache.close()

    def _load(self, pair: Pair) -> Engine:
        with loading():
            from app.inference.engine import load  # torch comes with it

        engine = load(pair, self._artifacts, device=self._settings.device, threads=self._threads)
        _settle()
        return engine

    def _loaded(self, pair: Pair, engine: Engine) -> None:
        if self._settings.engine != "torch":
            self.upgrades.consider(pair, engine)
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
