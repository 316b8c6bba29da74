"""Open data sets. Packed stores are immutable, so open ones are cached and shared."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from threading import Lock
from typing import Annotated

from anyio import CapacityLimiter

from app.http.deps import opened
from app.http.single_flight import SingleFlight
from app.inference.scheduling.limits import Waiters
from core.storage.artifacts import Artifacts
from models.data.store import Store

MOST_OPENING = 4
"""Limit of data sets fetched and opened for requests at a time; each may take minutes."""
MOST_WAITING = 16
"""Limit of requests that wait for one."""
_RETRY_SECONDS = 5


class Stores:
    """The most recently used stores, by artifact key.
    Opening one reads its index, not its images, but first downloads all of it if it is in an object store."""

    def __init__(self, artifacts: Artifacts, *, capacity: int = 16) -> None:
        self._artifacts, self._capacity = artifacts, capacity
        self._open: OrderedDict[str, Store] = OrderedDict()
        self._lock = Lock()
        self._forgotten = 0  # how often `forget` was called
        self._opening: SingleFlight[Store] = SingleFlight(CapacityLimiter(MOST_OPENING))
        self._waiters = Waiters(
            MOST_WAITING, "requests are waiting for data sets to open", retry_seconds=_RETRY_SECONDS
        )

    def ready(self, artifact: str) -> Store | None:
        """Return the store under this key if it is open."""
        with self._lock:
            store = self._open.get(artifact)
            if store is not None:
                self._open.move_to_end(artifact)
            return store

    async def fetch(self, artifact: str) -> Store:
        """Like `open`, in separate threads, once for all waiting requests; `Overloaded` if too many wait."""
        with self._waiters.another():
            return await self._opening.get(artifact, partial(self.open, artifact))

    def open(self, artifact: str) -> Store:
        """Return the store under this key. Raises `core.storage.artifacts.ArtifactMissing`."""
        store = self.ready(artifact)
        if store is not None:
            return store
        forgotten = self._forgotten
        store = Store.open(self._artifacts.folder(artifact))
        with self._lock:
            if self._forgotten == forgotten:  # else this store may be the one being deleted
                self._open[artifact] = store
            while len(self._open) > self._capacity:
                self._open.popitem(last=False)
        return store

    def forget(self, artifact: str) -> None:
        """Drop a store that is being deleted."""
        with self._lock:
            self._forgotten += 1
            self._open.pop(artifact, None)


StoresDep = Annotated[Stores, opened("stores")]
