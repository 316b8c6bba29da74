"""Opened data sets: packed stores are immutable, so an open one is kept and shared."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from threading import Lock

from anyio import CapacityLimiter

from app.inference.waiters import Waiters
from app.services.sharing import Shared
from core.artifacts import Artifacts
from models.data.store import Store

MOST_OPENING = 4
"""Data sets that are fetched and opened for requests at a time; each may take minutes."""
MOST_WAITING = 16
"""Requests that may wait for one."""
_RETRY_SECONDS = 5


class Stores:
    """The stores opened last, by artifact key. Opening one reads its index, not its images; where it lies in
    an object store, all of it is fetched before."""

    def __init__(self, artifacts: Artifacts, *, kept: int = 16) -> None:
        self._artifacts, self._kept = artifacts, kept
        self._open: OrderedDict[str, Store] = OrderedDict()
        self._lock = Lock()
        self._forgotten = 0  # how often `forget` was called
        self._opening: Shared[Store] = Shared(CapacityLimiter(MOST_OPENING))
        self._waiters = Waiters(
            MOST_WAITING, "requests are waiting for data sets to open", retry_seconds=_RETRY_SECONDS
        )

    def ready(self, artifact: str) -> Store | None:
        """The store under this key if it is open."""
        with self._lock:
            store = self._open.get(artifact)
            if store is not None:
                self._open.move_to_end(artifact)
            return store

    async def fetch(self, artifact: str) -> Store:
        """As `open`, in threads of its own, and once for all who ask. `Overloaded` where too many wait."""
        with self._waiters.another():
            return await self._opening.get(artifact, partial(self.open, artifact))

    def open(self, artifact: str) -> Store:
        """The store under this key; raises `core.artifacts.ArtifactMissing`."""
        store = self.ready(artifact)
        if store is not None:
            return store
        forgotten = self._forgotten
        store = Store.open(self._artifacts.folder(artifact))
        with self._lock:
            if self._forgotten == forgotten:  # else it may be this store that is being deleted
                self._open[artifact] = store
            while len(self._open) > self._kept:
                self._open.popitem(last=False)
        return store

    def forget(self, artifact: str) -> None:
        """Drop a store that is being deleted."""
        with self._lock:
            self._forgotten += 1
            self._open.pop(artifact, None)
