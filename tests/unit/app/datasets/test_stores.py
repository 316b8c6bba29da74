"""Open data sets: kept while they are asked for, and not once they are deleted."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from app.datasets.stores import Stores
from core.storage.artifacts import Artifacts
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter


class HeldBack(Artifacts):
    """Hands out a folder when `go` is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"file://{folder}/artifacts", cache=folder / "cache")
        self.asked, self.go = threading.Event(), threading.Event()

    def folder(self, key: str) -> Path:
        found = super().folder(key)
        self.asked.set()
        assert self.go.wait(10)
        return found


@pytest.fixture
def artifacts(tmp_path: Path) -> HeldBack:
    made = HeldBack(tmp_path)
    for key in ("datasets/a", "datasets/b"):
        with made.writing(key) as folder, StoreWriter(folder) as writer:
            writer.add(Row("a/1.png", 0, "test", 0, 1, 1, b"x"))
            writer.finish(DatasetInfo("one", "image_folder", ("a", "b"), ()))
    return made


def test_a_data_set_that_is_deleted_while_it_is_opened_is_not_kept(artifacts: HeldBack) -> None:
    """Its files would stay on the disk for as long as they are mapped."""
    stores = Stores(artifacts)
    opening = threading.Thread(target=stores.open, args=("datasets/a",))
    opening.start()
    assert artifacts.asked.wait(10)
    stores.forget("datasets/a")
    artifacts.go.set()
    opening.join()
    assert stores.ready("datasets/a") is None
    assert stores.open("datasets/a") is stores.ready("datasets/a")


def test_the_data_sets_opened_last_are_kept(artifacts: HeldBack) -> None:
    artifacts.go.set()
    stores = Stores(artifacts, capacity=1)
    first = stores.open("datasets/a")
    assert stores.open("datasets/a") is first
    stores.open("datasets/b")
    assert stores.ready("datasets/a") is None
