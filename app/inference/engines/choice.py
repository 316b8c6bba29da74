"""Engines of pairs: loaded on demand, then replaced by faster ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from app.inference.cache import EngineCache
from app.inference.engines.upgrade import IMAGES, Proven, Squares, Upgrades
from app.inference.types import Engine, Pair, Upload
from core.loading import collect_seldom, loading
from core.settings import Settings
from core.storage.artifacts import Artifacts
from models.data.images.limits import ImageError, ImageLimits

Stored = Callable[[str, int], list[bytes]]
"""`stored(model, n)` returns up to n encoded images of the data set that a model was trained on."""
Check = Callable[[Pair], None]
"""Raises `NotFound` if a model of the pair has been deleted."""


def check_forward(device: str) -> None:
    """Raise unless a real forward pass works in this process on this device (named as in the settings).

    The first call imports torch, which takes seconds.
    """
    with loading():
        from app.inference.engines.torch import probe

    probe(device)


class Engines:
    """The `cache`, the loading into it, and the search for better engines than those that were loaded."""

    def __init__(
        self,
        settings: Settings,
        artifacts: Artifacts,
        limits: ImageLimits,
        *,
        stored: Stored,
        check: Check,
    ) -> None:
        """`limits` apply to stored images."""
        self._settings, self._artifacts, self._limits, self._stored = settings, artifacts, limits, stored
        self._check = check
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

    def forget(self, model_id: str) -> None:
        """Drop the engines of a model that is being deleted, and stop looking for better ones."""
        self.upgrades.forget(model_id)
        self.cache.drop(model_id)

    def close(self) -> None:
        """End every thread. Engines still answer the requests that they already have."""
        self.upgrades.close()
        self.cache.close()

    def _load(self, pair: Pair) -> Engine:
        with loading():
            from app.inference.engines.torch import load  # imports torch

        try:
            engine = load(pair, self._artifacts, device=self._settings.device, threads=self._threads)
        finally:
            # The model may have been deleted since the request's plan was read. If it was still loaded, it
            # must not stay in memory; if its files were half deleted, it must not be reported as damaged.
            self._check(pair)
        collect_seldom()
        return engine

    def _loaded(self, pair: Pair, engine: Engine) -> None:
        if self._settings.engine != "torch":
            self.upgrades.consider(pair)

    def _prove(self, pair: Pair, engine: Engine, images: Squares) -> Proven:
        from app.inference.engines.verification import prove  # imports torch and ONNX Runtime

        proven = prove(pair, engine, images, artifacts=self._artifacts, threads=self._threads)
        collect_seldom()
        return proven

    def _samples(self, pair: Pair, size: int) -> list[Squares]:
        """Return images of the model's data set as squares, without those that no longer decode."""
        from app.inference.images import to_square

        squares = []
        for encoded in self._stored(pair.model.id, IMAGES):
            with suppress(ImageError):
                squares.append(to_square(Upload(encoded), size, self._limits))
        return squares


def _possible(engine: Engine) -> bool:
    from app.inference.engines.verification import possible  # imports torch and ONNX Runtime

    return possible(engine)
