"""Replaces torch by an engine of lower precision, after measuring it on the model's own splits.

The operator must choose it (`MASKTUNE_ENGINE`), because it is a trade-off: its answers differ from torch's,
so it answers only with a calibration of its own. It is measured when a model is served, on the machine that
serves it, because the rounding of bfloat16 and int8 depends on the CPU's kernels.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from app.inference.engines.upgrade import Proven
from app.inference.types import Engine, Ground, Pair
from core.errors import Conflict, MasktuneError, NotFound, Unavailable

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_MOST_WAITED = 1.0
"""Most seconds that one batch of a measurement waits for predictions."""


class Reducer(Protocol):
    """Builds the engine of a pair and measures it beside torch; calls `pause` before each batch."""

    def __call__(
        self, pair: Pair, engine: Engine, ground: Ground, *, pause: Callable[[], None], stop: threading.Event
    ) -> Proven: ...


class Reductions:
    """Moves pairs to lower precision, one after the other, in one thread.

    `ground` returns the data that a model was calibrated on, and raises if it never was; `busy` tells whether
    predictions are waiting; `current` and `replace` are the cache's.
    """

    def __init__(
        self,
        *,
        ground: Callable[[Pair], Ground],
        reduce: Reducer,
        busy: Callable[[], bool],
        current: Callable[[Pair], Engine | None],
        replace: Callable[[Pair, Engine, Engine], bool],
    ) -> None:
        self._ground, self._reduce, self._busy = ground, reduce, busy
        self._current, self._replace = current, replace
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reduce")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pending: dict[Pair, Engine | None] = {}
        """None for an engine that left the cache, so that the queue does not keep it in memory."""
        self._refused: dict[Pair, str] = {}
        """Refused pairs, with the calibration id at the time: a new calibration is worth another try."""

    def consider(self, pair: Pair, engine: Engine) -> None:
        """Queue a measurement for a pair that torch (`engine`) now serves. Returns at once."""
        if self._stop.is_set():
            return
        with self._lock:
            waits = pair in self._pending
            self._pending[pair] = engine
            for other in [other for other in self._pending if self._current(other) is None]:
                self._pending[other] = None
        if not waits:
            self._thread.submit(self._guarded, pair)

    def forget(self, model_id: str) -> None:
        """Drop queued engines of a model that is being deleted."""
        with self._lock:
            for pair in [pair for pair in self._pending if pair.has(model_id)]:
                self._pending[pair] = None

    def close(self) -> None:
        """End the running measurement and the thread."""
        self._stop.set()
        self._thread.shutdown(cancel_futures=True)

    def _consider(self, pair: Pair) -> None:
        with self._lock:
            engine = self._pending.pop(pair)
        current = self._current(pair)
        if engine is None or current is None or current.calibration is not None:
            return
        ground = self._ground(pair)
        if self._refused.get(pair) == ground.calibration:
            return
        proven = self._reduce(pair, engine, ground, pause=partial(self._pause, pair), stop=self._stop)
        if self._is_outdated(pair, ground):
            self.consider(pair, engine)
        elif proven.engine is None:
            self._refused[pair] = ground.calibration
            self._stays(pair, proven.why)
        elif self._install(pair, proven.engine):
            logger.info("model %s is served by %s: %s", pair.model.id, proven.engine.name, proven.why)

    def _is_outdated(self, pair: Pair, ground: Ground) -> bool:
        """Whether the model was recalibrated in the meantime. The next plan would discard an engine measured
        for the previous calibration and load the pair again."""
        try:
            return self._ground(pair).calibration != ground.calibration
        except Conflict:  # the data set was deleted: the measurement is still valid
            return False

    def _install(self, pair: Pair, engine: Engine) -> bool:
        """Replace torch, or ONNX Runtime if it has taken over in the meantime."""
        while (current := self._current(pair)) is not None and current.calibration is None:
            if self._replace(pair, current, engine):
                return True
        return False

    def _pause(self, pair: Pair) -> None:
        """Wait while predictions are pending. Raises to end a measurement whose result could not be used."""
        until = time.monotonic() + _MOST_WAITED
        while self._busy() and time.monotonic() < until and not self._stop.wait(_POLL_SECONDS):
            pass
        if self._stop.is_set():
            raise Unavailable("the service is shutting down")
        if self._current(pair) is None:
            raise NotFound("it is no longer in memory")

    def _stays(self, pair: Pair, why: str) -> None:
        logger.warning("model %s is not served in less precision: %s", pair.model.id, why)

    def _guarded(self, pair: Pair) -> None:
        try:
            self._consider(pair)
        except MasktuneError as error:
            if not self._stop.is_set():
                self._stays(pair, error.detail)
        except Exception:  # any error of a library: torch goes on answering
            logger.exception("model %s is not served in less precision", pair.model.id)
