"""Replaces torch by a faster engine: torch answers first, and a graph takes over once proven equal.

The graph is made when a model is first served, not when it is registered. Most models (controls, the ERM half
of an unused pair) are never served, an import has no job that could export, and the proof must be made with
this machine's kernels.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from app.inference.engines import graph_store as graphs
from app.inference.types import Engine, Pair
from core.errors import Conflict, MasktuneError, NotFound
from core.storage.artifacts import Artifacts

logger = logging.getLogger(__name__)

IMAGES = 32
"""Number of real images that a graph is compared on, or all if the data set has fewer."""
FEWEST = 8
"""Least number of real images that a comparison needs."""

AGAIN_SECONDS = (30.0, 300.0, 3600.0, 6 * 3600.0)
"""Delays of the retries after transient faults (the store is down, the GPU is full); then torch stays."""

Squares = NDArray[np.uint8]


class Proven(NamedTuple):
    """Result of a proof. If `engine` is None, `why` has the reason, else how the engine was proven."""

    engine: Engine | None
    why: str


Prover = Callable[[Pair, Engine, Squares], Proven]
"""Builds the faster engine of a pair and compares it with the current one, on (N, 3, S, S) images."""


class _Collected(NamedTuple):
    """Images collected so far for a comparison that needs more."""

    pair: Pair
    squares: list[Squares]


class Upgrades:
    """Upgrades pairs that torch serves, one after the other, in one thread.

    `possible` tells, before anything is exported, whether another engine can run on the same device.
    `samples` returns images of the data set that a model was trained on, as the network sees them. If there
    are fewer than `FEWEST`, images from clients are collected (`offer`) until there are enough. `current` and
    `replace` are the cache's; engines that have left the cache are skipped.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        *,
        possible: Callable[[Engine], bool],
        prove: Prover,
        samples: Callable[[Pair, int], Sequence[Squares]],
        current: Callable[[Pair], Engine | None],
        replace: Callable[[Pair, Engine, Engine], bool],
        again: Sequence[float] = AGAIN_SECONDS,
    ) -> None:
        self._again = again
        self._artifacts, self._possible, self._prove = artifacts, possible, prove
        self._samples, self._current, self._replace = samples, current, replace
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="upgrade")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pending: set[Pair] = set()
        # Weak keys, so that an engine that leaves the cache does not stay in memory.
        self._collecting: WeakKeyDictionary[Engine, _Collected] = WeakKeyDictionary()
        self._refused: set[Pair] = set()
        self._failed: Counter[Pair] = Counter()
        self._later: dict[Pair, threading.Timer] = {}
        """Timers of failed pairs that will be retried, whether loaded in the meantime or not."""

    def consider(self, pair: Pair) -> None:
        """Look for an engine faster than the one that now answers. Returns at once."""
        with self._lock:
            if self._stop.is_set() or pair in self._refused | self._pending | self._later.keys():
                return
            self._pending.add(pair)
        self._thread.submit(self._guarded, pair, self._prepare)

    def offer(self, engine: Engine, squares: Squares) -> None:
        """Offer a client's images (n, 3, S, S). They are usually not needed, and the call costs nothing."""
        collected = self._collecting.get(engine)
        if collected is None:
            return
        with self._lock:
            collected.squares.extend(squares)
            if len(collected.squares) < FEWEST or self._collecting.pop(engine, None) is None:
                return
        finish = partial(self._finish, images=np.stack(collected.squares[:IMAGES]))
        self._thread.submit(self._guarded, collected.pair, finish)

    def forget(self, model_id: str) -> None:
        """Stop collecting images and cancel retries for a model that is being deleted."""
        with self._lock:
            for engine in [e for e, collected in self._collecting.items() if collected.pair.has(model_id)]:
                del self._collecting[engine]
            for pair in [pair for pair in self._later if pair.has(model_id)]:
                self._later.pop(pair).cancel()

    def close(self) -> None:
        """End the running export and the thread."""
        self._stop.set()
        with self._lock:
            for timer in self._later.values():
                timer.cancel()
        self._thread.shutdown(cancel_futures=True)

    def _prepare(self, pair: Pair) -> None:
        self._pending.discard(pair)  # a load from now on is another one
        engine = self._current(pair)
        if engine is None or not self._possible(engine):
            return
        size = engine.image_size
        del engine  # do not keep it in memory during an export, which takes minutes
        for part in pair.parts:
            graphs.graph(part, self._artifacts, stop=self._stop)
        squares = list(self._samples(pair, size))
        if len(squares) >= FEWEST:
            self._finish(pair, np.stack(squares))
        elif (engine := self._current(pair)) is not None:
            with self._lock:
                self._collecting[engine] = _Collected(pair, squares)

    def _finish(self, pair: Pair, images: Squares) -> None:
        engine = self._current(pair)
        if engine is None or self._stop.is_set() or not self._possible(engine):
            return
        proven = self._prove(pair, engine, images)
        if proven.engine is None:
            self._refuse(pair, proven.why)
            return
        self._failed.pop(pair, None)  # a later failure is a new fault
        if self._replace(pair, engine, proven.engine):
            logger.info("model %s is served by %s: %s", pair.model.id, proven.engine.name, proven.why)

    def _refuse(self, pair: Pair, why: str) -> None:
        self._refused.add(pair)
        logger.warning("model %s stays with torch: %s", pair.model.id, why)

    def _guarded(self, pair: Pair, work: Callable[[Pair], None]) -> None:
        try:
            work(pair)
        except Conflict as error:
            self._refuse(pair, error.detail)
        except NotFound as error:  # deleted: the next attempt to load it reports that
            logger.warning("model %s stays with torch: %s", pair.model.id, error.detail)
        except MasktuneError as error:
            self._try_later(pair, error.detail)
        except Exception as error:  # any error of a library: torch goes on answering
            logger.exception("model %s stays with torch for now", pair.model.id)
            self._try_later(pair, f"{type(error).__name__}: {error}")

    def _try_later(self, pair: Pair, why: str) -> None:
        """Schedule a retry; after the last one, stay with torch."""
        if self._stop.is_set():
            return
        failed, self._failed[pair] = self._failed[pair], self._failed[pair] + 1
        if failed >= len(self._again):
            self._refuse(pair, why)
            return
        logger.warning(
            "model %s is served by torch until %g s from now: %s", pair.model.id, self._again[failed], why
        )
        timer = threading.Timer(self._again[failed], self._try_again, (pair,))
        timer.daemon = True
        with self._lock:
            self._later[pair] = timer
        timer.start()

    def _try_again(self, pair: Pair) -> None:
        """Retry now, or, if the pair has left the cache, when it is next loaded."""
        with self._lock:
            self._later.pop(pair, None)
        if self._current(pair) is not None:
            self.consider(pair)
