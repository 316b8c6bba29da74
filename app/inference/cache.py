"""Loaded pairs under a memory budget: loaded once, the least used goes first."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from app.inference.shapes import Engine, Pair
from app.inference.waiters import Waiters
from core.errors import shutting_down

_RETRY_SECONDS = 2
"""About as long as a load takes."""


def _nobody(pair: Pair, engine: Engine) -> None:
    """Is told and does nothing."""


class EngineCache:
    """Engines by pair. One that is put out while it answers lives on until it has answered.

    Loads run one after the other in a thread of their own: two at once would need the memory of two.
    """

    def __init__(
        self,
        load: Callable[[Pair], Engine],
        *,
        max_bytes: int,
        most_waiting: int = 64,
        loaded: Callable[[Pair, Engine], None] = _nobody,
    ) -> None:
        """`loaded` is told of each engine that has come in, in the thread of the loads.

        `most_waiting` callers of `get` may wait for loads at a time.
        """
        self._load, self._loaded = load, loaded
        self._max_bytes = max_bytes
        self._engines: OrderedDict[Pair, Engine] = OrderedDict()
        self._loading: dict[Pair, Future[Engine]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._waiters = Waiters(
            most_waiting, "requests wait for models to be loaded", retry_seconds=_RETRY_SECONDS
        )
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")

    def ready(self, pair: Pair) -> Engine | None:
        """The engine of this pair if it is loaded."""
        with self._lock:
            return self._found(pair)

    def peek(self, pair: Pair) -> Engine | None:
        """As `ready`, but it is no use of the engine: the least used stays the least used."""
        with self._lock:
            return self._engines.get(pair)

    def begin(self, pair: Pair) -> Future[Engine]:
        """The engine of this pair, loaded when it is not. From any thread; the result may be shared.

        Raises `Unavailable` once the cache is closed.
        """
        with self._lock:
            if self._closed:
                raise shutting_down()
            engine = self._found(pair)
            if engine is not None:
                there: Future[Engine] = Future()
                there.set_result(engine)
                return there
            loading = self._loading.get(pair)
            fresh = loading is None
            if loading is None:
                loading = self._loading[pair] = self._loader.submit(self._load, pair)
        if fresh:  # outside the lock: a load that has ended already calls back here and now
            loading.add_done_callback(partial(self._keep, pair))
        return loading

    async def get(self, pair: Pair) -> Engine:
        """The result of `begin`. Raises what the load raises, and `Overloaded` where too many wait."""
        with self._waiters.another():
            # Shielded: a client that leaves must not take the load from those who wait for it too.
            return await asyncio.shield(asyncio.wrap_future(self.begin(pair)))

    def replace(self, pair: Pair, old: Engine, new: Engine) -> bool:
        """Let `new` answer from now on, if it is still `old` that does. What runs ends with `old`."""
        with self._lock:
            if self._engines.get(pair) is not old:
                return False
            self._engines[pair] = new
            self._make_room()
            return True

    def drop(self, model_id: str) -> None:
        """Forget every pair with this model in it."""
        with self._lock:
            for pair in [pair for pair in self._engines if pair.has(model_id)]:
                del self._engines[pair]

    @property
    def loaded(self) -> list[Pair]:
        """Least used first."""
        with self._lock:
            return list(self._engines)

    @property
    def engines(self) -> list[Engine]:
        """Those of `loaded`."""
        with self._lock:
            return list(self._engines.values())

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._loader.shutdown(cancel_futures=True)
        with self._lock:
            self._engines.clear()

    def _found(self, pair: Pair) -> Engine | None:
        """Used now, if it is there. The lock is held."""
        engine = self._engines.get(pair)
        if engine is not None:
            self._engines.move_to_end(pair)
        return engine

    def _keep(self, pair: Pair, done: Future[Engine]) -> None:
        with self._lock:
            del self._loading[pair]
            if done.cancelled() or done.exception() is not None:
                return
            engine = self._engines[pair] = done.result()
            self._make_room()
        self._loaded(pair, engine)

    def _make_room(self) -> None:
        """Put the least used out until the rest is within the budget. The lock is held."""
        total = sum(engine.nbytes for engine in self._engines.values())
        # The newest stays even where it alone is over the budget: somebody waits for it.
        while total > self._max_bytes and len(self._engines) > 1:
            _, oldest = self._engines.popitem(last=False)
            total -= oldest.nbytes
