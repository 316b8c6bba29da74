"""Loaded pairs under a memory budget, evicted least recently used first."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from app.inference.scheduling.limits import Waiters
from app.inference.types import Engine, Pair
from core.errors import shutting_down

_RETRY_SECONDS = 2
"""Roughly how long a load takes."""


class EngineCache:
    """Engines by pair.
    An engine that is evicted while it answers lives until it has answered.

    Loads run one after the other in one thread, because two at once would need the memory of two.
    """

    def __init__(
        self,
        load: Callable[[Pair], Engine],
        *,
        max_bytes: int,
        most_waiting: int = 64,
    ) -> None:
        """At most `most_waiting` callers of `get` may wait for loads at a time."""
        self._load = load
        self._max_bytes = max_bytes
        self._engines: OrderedDict[Pair, Engine] = OrderedDict()
        self._loading: dict[Pair, Future[Engine]] = {}
        self._unwanted: set[Pair] = set()
        """Pairs that were dropped while loading: they answer the waiting requests but are not kept."""
        self._lock = threading.RLock()
        self._closed = False
        self._waiters = Waiters(
            most_waiting, "requests are waiting for models to load", retry_seconds=_RETRY_SECONDS
        )
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")

    def ready(self, pair: Pair) -> Engine | None:
        """Return the engine of this pair if it is loaded, and mark it as used."""
        with self._lock:
            engine = self._engines.get(pair)
            if engine is not None:
                self._engines.move_to_end(pair)
            return engine

    def begin(self, pair: Pair) -> Future[Engine]:
        """Return the engine of this pair as a future, and start loading it if needed.
        Thread-safe.

        Callers may share the future. Raises `Unavailable` once the cache is closed.
        """
        with self._lock:
            if self._closed:
                raise shutting_down()
            engine = self.ready(pair)
            if engine is not None:
                ready: Future[Engine] = Future()
                ready.set_result(engine)
                return ready
            loading = self._loading.get(pair)
            if loading is None:
                loading = self._loading[pair] = self._loader.submit(self._load, pair)
                loading.add_done_callback(partial(self._keep, pair))  # at once if the load has already ended
            return loading

    async def get(self, pair: Pair) -> Engine:
        """Await the result of `begin`. Raises what the load raises, and `Overloaded` if too many wait."""
        with self._waiters.another():
            # Shielded: a client that disconnects must not cancel the load for the others that wait.
            return await asyncio.shield(asyncio.wrap_future(self.begin(pair)))

    def drop(self, model_id: str) -> None:
        """Remove every pair that contains this model, including one that is still loading."""
        with self._lock:
            for pair in [pair for pair in self._engines if pair.has(model_id)]:
                del self._engines[pair]
            self._unwanted.update(pair for pair in self._loading if pair.has(model_id))

    @property
    def engines(self) -> dict[Pair, Engine]:
        """The loaded pairs with their engines, least recently used first."""
        with self._lock:
            return dict(self._engines)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._loader.shutdown(cancel_futures=True)
        with self._lock:
            self._engines.clear()

    def _keep(self, pair: Pair, done: Future[Engine]) -> None:
        with self._lock:
            del self._loading[pair]
            unwanted = pair in self._unwanted
            self._unwanted.discard(pair)
            if unwanted or done.cancelled() or done.exception() is not None:
                return
            self._engines[pair] = done.result()
            self._make_room()

    def _make_room(self) -> None:
        """Evict the least recently used until the rest fits the budget. The caller holds the lock."""
        total = sum(engine.nbytes for engine in self._engines.values())
        # The newest stays even if it alone exceeds the budget: a request is waiting for it.
        while total > self._max_bytes and len(self._engines) > 1:
            _, oldest = self._engines.popitem(last=False)
            total -= oldest.nbytes
