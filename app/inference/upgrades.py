"""From torch to a faster engine: torch answers first, a graph takes over once it is proven equal to it.

The graph is made when a model is served, not when it is registered: most models (the ERM half of a
pair that was never asked for, the control) are never served, an import has no job that could export,
and what must be proven is this machine's kernels, whatever another one's were.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.inference import graphs
from app.inference.shapes import Engine, Pair
from core.artifacts import Artifacts
from core.errors import MasktuneError

logger = logging.getLogger(__name__)

IMAGES = 32
"""Real images that a graph is compared on, where the data set has as many."""
FEWEST = 8
"""Real images without which no graph answers."""

Squares = NDArray[np.uint8]


class Proven(NamedTuple):
    """`engine` None: it may not answer, and `why` says so; else `why` says what it was proven by."""

    engine: Engine | None
    why: str


class Prover(Protocol):
    """Builds the faster engine of a pair and compares it with the one that answers, on (N, 3, S, S)."""

    def __call__(self, pair: Pair, engine: Engine, images: Squares) -> Proven: ...


class Upgrades:
    """Pairs that torch serves and that may be served faster, one after the other, in one thread.

    `possible` says, before anything is exported, whether there is another engine where this one runs;
    `samples` gives images of the data set that a model was trained on, as the network sees them; where
    there are fewer than `FEWEST`, those that clients send are collected (`show`) until they are enough.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        *,
        possible: Callable[[Engine], bool],
        prove: Prover,
        samples: Callable[[Pair, int], Sequence[Squares]],
        replace: Callable[[Pair, Engine, Engine], bool],
    ) -> None:
        self._artifacts, self._possible, self._prove = artifacts, possible, prove
        self._samples, self._replace = samples, replace
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="upgrade")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._wanting: dict[Pair, tuple[Engine, list[Squares]]] = {}
        self._refused: set[Pair] = set()

    def consider(self, pair: Pair, engine: Engine) -> None:
        """Look for something faster than `engine`, which answers now. Returns at once."""
        if pair not in self._refused and not self._stop.is_set():
            self._thread.submit(self._guarded, self._prepare, pair, engine)

    def show(self, pair: Pair, squares: Squares) -> None:
        """Images (n, 3, S, S) that a client sent. Nearly always nobody wants them, and it costs nothing."""
        if not self._wanting:
            return
        with self._lock:
            wanting = self._wanting.get(pair)
            if wanting is None:
                return
            engine, collected = wanting
            collected.extend(squares)
            if len(collected) < FEWEST:
                return
            del self._wanting[pair]
        self._thread.submit(self._guarded, self._finish, pair, engine, np.stack(collected[:IMAGES]))

    def forget(self, model_id: str) -> None:
        """Collect nothing more for a model that is being deleted."""
        with self._lock:
            self._wanting = {pair: held for pair, held in self._wanting.items() if not pair.has(model_id)}

    def close(self) -> None:
        """End the export that is running, and the thread."""
        self._stop.set()
        self._thread.shutdown(cancel_futures=True)

    def _prepare(self, pair: Pair, engine: Engine) -> None:
        if not self._possible(engine):
            return
        for part in pair.parts:
            graphs.graph(part, self._artifacts, stop=self._stop)
        squares = list(self._samples(pair, engine.image_size))
        if len(squares) >= FEWEST:
            self._finish(pair, engine, np.stack(squares))
            return
        with self._lock:
            self._wanting[pair] = (engine, squares)

    def _finish(self, pair: Pair, engine: Engine, images: Squares) -> None:
        if self._stop.is_set():
            return
        proven = self._prove(pair, engine, images)
        if proven.engine is None:
            self._refuse(pair, engine, proven.why)
        elif self._replace(pair, engine, proven.engine):
            logger.info("model %s is served by %s: %s", pair.model.id, proven.engine.name, proven.why)

    def _refuse(self, pair: Pair, engine: Engine, why: str) -> None:
        self._refused.add(pair)
        logger.warning("model %s stays with %s: %s", pair.model.id, engine.name, why)

    def _guarded(self, work: Callable[..., None], pair: Pair, engine: Engine, *more: Squares) -> None:
        try:
            work(pair, engine, *more)
        except MasktuneError as error:
            if not self._stop.is_set():
                self._refuse(pair, engine, error.detail)
        except Exception:  # torch goes on answering, whatever a library has against the graph
            logger.exception("model %s stays with %s", pair.model.id, engine.name)
            self._refused.add(pair)
