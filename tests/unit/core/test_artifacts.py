"""Artifacts appear whole or not at all, on a disk and in an object store alike."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from core.artifacts import ArtifactMissing, Artifacts


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    address = f"file://{tmp_path}/a" if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    return Artifacts(address, cache=tmp_path / "cache")


def _write(store: Artifacts, key: str, **files: str) -> None:
    with store.writing(key) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)


def test_what_is_written_is_read(store: Artifacts) -> None:
    _write(store, "models/mdl_1", card="one")
    assert (store.folder("models/mdl_1") / "card").read_text() == "one"
    assert store.exists("models/mdl_1")


def test_a_block_that_raises_leaves_nothing(store: Artifacts) -> None:
    def fail() -> None:
        with store.writing("models/mdl_1") as folder:
            (folder / "card").write_text("half")
            raise RuntimeError("the stage was stopped")

    with pytest.raises(RuntimeError):
        fail()
    assert not store.exists("models/mdl_1")
    with pytest.raises(ArtifactMissing):
        store.folder("models/mdl_1")


def test_writing_again_replaces_all_of_it(store: Artifacts) -> None:
    _write(store, "jobs/j/mask", maps="1", index="1")
    _write(store, "jobs/j/mask", maps="2")
    folder = store.folder("jobs/j/mask")
    assert (folder / "maps").read_text() == "2"
    assert not (folder / "index").exists()


def test_deleting_twice_is_no_error(store: Artifacts) -> None:
    _write(store, "datasets/ds_1", samples="x")
    store.folder("datasets/ds_1")
    store.delete("datasets/ds_1")
    store.delete("datasets/ds_1")
    assert not store.exists("datasets/ds_1")
    with pytest.raises(ArtifactMissing):
        store.folder("datasets/ds_1")


@pytest.mark.parametrize("key", ["", "../x", "a/../../x", "/etc", "a//../b"])
def test_a_key_cannot_leave_the_store(store: Artifacts, key: str) -> None:
    with pytest.raises(ValueError, match="not an artifact key"):
        store.exists(key)


def test_check_writes_reads_and_removes(store: Artifacts) -> None:
    store.check()
    assert store.fs.ls(store.root) == []


def test_check_tells_of_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"exists|directory"):
        Artifacts(f"file://{tmp_path}/a", cache=tmp_path).check()
