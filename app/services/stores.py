"""Opened data sets: packed stores are immutable, so an open one is kept and shared."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from core.artifacts import Artifacts
from models.data.store import Store


class Stores:
    """The stores opened last, by artifact key. Opening one reads its index, not its images."""

    def __init__(self, artifacts: Artifacts, *, kept: int = 16) -> None:
        self._artifacts, self._kept = artifacts, kept
        self._open: OrderedDict[str, Store] = OrderedDict()
        self._lock = Lock()

    def open(self, artifact: str) -> Store:
        """The store under this key; raises `core.artifacts.ArtifactMissing`."""
        with self._lock:
            store = self._open.get(artifact)
            if store is not None:
                self._open.move_to_end(artifact)
                return store
        store = Store.open(self._artifacts.folder(artifact))
        with self._lock:
            self._open[artifact] = store
            while len(self._open) > self._kept:
                self._open.popitem(last=False)
        return store

    def forget(self, artifact: str) -> None:
        """Drop a store that is being deleted."""
        with self._lock:
            self._open.pop(artifact, None)
