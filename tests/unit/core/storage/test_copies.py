"""What is kept of a remote store, and what goes."""

from __future__ import annotations

import mmap
import os
import time
import uuid
from pathlib import Path

import pytest

from core.storage.artifacts import ArtifactMissing, Artifacts

NO_LIMIT = 2**60


@pytest.fixture
def store(tmp_path: Path) -> Artifacts:
    """A remote store with two data sets of 1000 bytes; copies of both are here."""
    store = Artifacts(f"memory://{uuid.uuid4().hex}", cache=tmp_path / "cache")
    for name in ("old", "new"):
        with store.writing(f"datasets/{name}") as folder:
            (folder / "samples").write_bytes(bytes(1000))
        store.folder(f"datasets/{name}")
    return store


def age(folder: Path, *, hours: float) -> None:
    then = time.time() - hours * 3600
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then))


def here(tmp_path: Path) -> set[str]:
    """Keys of the copies, and hidden names."""
    found = {path.parent for path in (tmp_path / "cache").rglob("samples")}
    return {folder.name.partition("@")[0] for folder in found}


def test_above_the_limit_the_least_recently_used_go(store: Artifacts, tmp_path: Path) -> None:
    age(store.folder("datasets/old"), hours=3)
    age(store.folder("datasets/new"), hours=2)
    store.copies.tidy(most=2000)
    assert here(tmp_path) == {"old", "new"}
    store.copies.tidy(most=1500)
    assert here(tmp_path) == {"new"}
    assert (store.folder("datasets/old") / "samples").stat().st_size == 1000, "it is fetched again"


def test_what_is_being_used_stays(store: Artifacts, tmp_path: Path) -> None:
    age(store.folder("datasets/old"), hours=3)
    store.copies.tidy(most=0, keep={"datasets/old"})
    assert here(tmp_path) == {"old", "new"}
    age(store.folder("datasets/old"), hours=3)
    store.folder("datasets/old")
    store.copies.tidy(most=0)
    assert here(tmp_path) == {"old", "new"}


def test_a_file_that_is_mapped_is_read_on(store: Artifacts, tmp_path: Path) -> None:
    folder = store.folder("datasets/old")
    with (folder / "samples").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    age(folder, hours=3)
    store.copies.tidy(most=0)
    assert not folder.exists()
    assert mapped[:] == bytes(1000)


def test_copies_of_what_another_host_deleted_or_replaced_go(store: Artifacts, tmp_path: Path) -> None:
    other = Artifacts(store.fs.unstrip_protocol(store.root), cache=tmp_path / "other")
    old, new = store.folder("datasets/old"), store.folder("datasets/new")
    other.delete("datasets/old")
    with other.writing("datasets/new") as folder:
        (folder / "samples").write_bytes(b"2")
    store.copies.tidy(most=NO_LIMIT)
    assert here(tmp_path) == {"old", "new"}, "somebody may be about to open them"
    age(old, hours=2)
    age(new, hours=2)
    store.copies.tidy(most=NO_LIMIT)
    assert here(tmp_path) == set()
    with pytest.raises(ArtifactMissing):
        store.folder("datasets/old")


def test_what_killed_processes_left_goes_after_a_day(store: Artifacts, tmp_path: Path) -> None:
    partials = [
        tmp_path / "cache/artifacts" / name for name in ("writing.a1b2c3d4", "models/.mdl_1@f.a1b2c3d4")
    ]
    for partial in partials:
        partial.mkdir(parents=True)
        (partial / "weights").touch()
    age(partials[0], hours=25)
    age(partials[1], hours=23)
    store.copies.tidy(most=NO_LIMIT)
    assert [partial.exists() for partial in partials] == [False, True]
    assert here(tmp_path) == {"old", "new"}


def test_whoever_waits_for_a_copy_hears_of_each_file(tmp_path: Path) -> None:
    """A slow store is not one that hangs."""
    told: list[str] = []
    address = f"memory://{uuid.uuid4().hex}"
    store = Artifacts(address, cache=tmp_path / "cache", alive=lambda: told.append("alive"))
    with store.writing("datasets/new") as folder:
        for name in ("samples", "report"):
            (folder / name).write_bytes(bytes(1000))
    sent, told[:] = len(told), []
    store.folder("datasets/new")
    assert sent >= 2
    assert len(told) >= 2


def test_other_files_below_the_cache_are_not_touched(store: Artifacts, tmp_path: Path) -> None:
    """The image keeps published weights there, in folders with hidden ones."""
    weights = tmp_path / "cache/huggingface/hub/.locks"
    weights.mkdir(parents=True)
    age(tmp_path / "cache", hours=100)
    store.copies.tidy(most=0)
    assert weights.exists()
