"""From torch to a faster engine: torch answers first, a graph takes over once it is proven equal to it.

The graph is made when a model is served, not when it is registered: most models (the ERM half of a
pair that was never asked for, the control) are never served, an import has no job that could export,
and what must be proven is this machine's kernels, whatever another one's were.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol
from weakref import ReferenceType, ref

import numpy as np
from numpy.typing import NDArray

from app.inference import graphs
from app.inference.shapes import Engine, Pair
from core.artifacts import Artifacts
from core.errors import Conflict, MasktuneError, NotFound

logger = logging.getLogger(__name__)

IMAGES = 32
"""Real images that a graph is compared on, where the data set has as many."""
FEWEST = 8
"""Real images without which no graph answers."""

AGAIN_SECONDS = (30.0, 300.0, 3600.0, 6 * 3600.0)
"""After faults that may pass (a store that is away, a card without room); then torch answers for good."""

Squares = NDArray[np.uint8]


class Proven(NamedTuple):
    """`engine` None: it may not answer, and `why` says so; else `why` says what it was proven by."""

    engine: Engine | None
    why: str


class Prover(Protocol):
    """Builds the faster engine of a pair and compares it with the one that answers, on (N, 3, S, S)."""

    def __call__(self, pair: Pair, engine: Engine, images: Squares) -> Proven: ...


class _Wanting(NamedTuple):
    """The engine whose answers are to be compared, and the images collected for it."""

    engine: ReferenceType[Engine]
    squares: list[Squares]


class Upgrades:
    """Pairs that torch serves and that may be served faster, one after the other, in one thread.

    `possible` says, before anything is exported, whether there is another engine where this one runs;
    `samples` gives images of the data set that a model was trained on, as the network sees them; where
    there are fewer than `FEWEST`, those that clients send are collected (`show`) until they are enough.
    `current` and `replace` are the cache's: nothing is done for an engine that is out of it.
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
        # An engine that goes out of the cache must not stay in memory because it waits here.
        self._pending: dict[Pair, ReferenceType[Engine]] = {}
        self._wanting: dict[Pair, _Wanting] = {}
        self._refused: set[Pair] = set()
        self._failed: Counter[Pair] = Counter()
        self._later: dict[Pair, threading.Timer] = {}
        """Those that failed and are to be tried again, be they loaded meanwhile or not."""

    def consider(self, pair: Pair, engine: Engine) -> None:
        """Look for something faster than `engine`, which answers now. Returns at once."""
        if pair in self._refused or self._stop.is_set():
            return
        with self._lock:
            if pair in self._later:
                return
            waits = pair in self._pending
            self._pending[pair] = ref(engine)
        if not waits:
            self._thread.submit(self._guarded, pair, self._prepare)

    def show(self, pair: Pair, squares: Squares) -> None:
        """Images (n, 3, S, S) that a client sent. Nearly always nobody wants them, and it costs nothing."""
        wanting = self._wanting.get(pair)
        if wanting is None:
            return
        answers = self._still(pair, wanting.engine) is not None
        with self._lock:
            if self._wanting.get(pair) is not wanting:
                return
            if answers:
                wanting.squares.extend(squares)
                if len(wanting.squares) < FEWEST:
                    return
            del self._wanting[pair]
        if answers:
            finish = partial(self._finish, held=wanting.engine, images=np.stack(wanting.squares[:IMAGES]))
            self._thread.submit(self._guarded, pair, finish)

    def forget(self, model_id: str) -> None:
        """Collect nothing more for a model that is being deleted, and try nothing again."""
        with self._lock:
            self._wanting = {pair: one for pair, one in self._wanting.items() if not pair.has(model_id)}
            for pair in [pair for pair in self._later if pair.has(model_id)]:
                self._later.pop(pair).cancel()

    def close(self) -> None:
        """End the export that is running, and the thread."""
        self._stop.set()
        with self._lock:
            for timer in self._later.values():
                timer.cancel()
        self._thread.shutdown(cancel_futures=True)

    def _prepare(self, pair: Pair) -> None:
        with self._lock:
            held = self._pending.pop(pair)
        engine = self._still(pair, held)
        if engine is None or not self._possible(engine):
            return
        size = engine.image_size
        del engine  # an export takes minutes
        for part in pair.parts:
            graphs.graph(part, self._artifacts, stop=self._stop)
        squares = list(self._samples(pair, size))
        if len(squares) >= FEWEST:
            self._finish(pair, held, np.stack(squares))
            return
        with self._lock:
            left = {other: one for other, one in self._wanting.items() if one.engine() is not None}
            self._wanting = left | {pair: _Wanting(held, squares)}

    def _finish(self, pair: Pair, held: ReferenceType[Engine], images: Squares) -> None:
        engine = self._still(pair, held)
        if engine is None or self._stop.is_set():
            return
        proven = self._prove(pair, engine, images)
        if proven.engine is None:
            self._refuse(pair, proven.why)
            return
        self._failed.pop(pair, None)  # what fails after this is another fault
        if self._replace(pair, engine, proven.engine):
            logger.info("model %s is served by %s: %s", pair.model.id, proven.engine.name, proven.why)

    def _still(self, pair: Pair, held: ReferenceType[Engine]) -> Engine | None:
        """The engine that was asked about, if it is what answers now."""
        engine = self._current(pair)
        return engine if engine is held() else None

    def _refuse(self, pair: Pair, why: str) -> None:
        self._refused.add(pair)
        logger.warning("model %s stays with torch: %s", pair.model.id, why)

    def _guarded(self, pair: Pair, work: Callable[[Pair], None]) -> None:
        try:
            work(pair)
        except Conflict as error:
            self._refuse(pair, error.detail)
        except NotFound as error:  # deleted: who would load it again is told so
            logger.warning("model %s stays with torch: %s", pair.model.id, error.detail)
        except MasktuneError as error:
            self._try_later(pair, error.detail)
        except Exception as error:  # torch goes on answering, whatever a library has against the graph
            logger.exception("model %s stays with torch for now", pair.model.id)
            self._try_later(pair, f"{type(error).__name__}: {error}")

    def _try_later(self, pair: Pair, why: str) -> None:
        """Once more, in a while; for good with torch after the last time."""
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
        """The time has come; one that is out of the cache is tried when it is loaded."""
        with self._lock:
            self._later.pop(pair, None)
        engine = self._current(pair)
        if engine is not None:
            self.consider(pair, engine)
