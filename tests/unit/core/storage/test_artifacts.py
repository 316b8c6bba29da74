"""Artifacts appear whole or not at all, on a disk and in an object store alike."""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from core.errors import Unavailable
from core.storage.artifacts import MARKER, ArtifactMissing, Artifacts


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    address = f"file://{tmp_path}/a" if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    return Artifacts(address, cache=tmp_path / "cache")


class SlowStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An object store from which each file takes a while to come, and that counts how often it did."""

    protocol = "slow"
    fetched: Counter[str] = Counter()  # noqa: RUF012  # as the files of its parent: of all instances

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        time.sleep(0.05)
        type(self).fetched[rpath.rpartition("/")[2]] += 1
        super().get_file(rpath, lpath, **kwargs)


@pytest.fixture
def remote() -> str:
    """The address of a slow store, whose count begins with the test."""
    fsspec.register_implementation("slow", SlowStore, clobber=True)
    SlowStore.fetched.clear()
    return f"slow://{uuid.uuid4().hex}"


def _write(store: Artifacts, key: str, **files: str) -> None:
    with store.writing(key) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)


def test_a_size_is_that_of_all_files_below_a_key(store: Artifacts) -> None:
    _write(store, "jobs/job_1/report", page="12345", data="123")
    alone = store.size("jobs/job_1/report")
    _write(store, "jobs/job_1/masks", maps="1")
    assert store.size("jobs/job_1") - alone - store.size("jobs/job_1/masks") == 0
    assert (alone - len(_marker(store)), store.size("jobs/job_2")) == (8, 0)
    _write(store, "models/mdl_1", weights="1234")
    wholes = {("jobs", "job_1"): store.size("jobs/job_1"), ("models", "mdl_1"): store.size("models/mdl_1")}
    assert store.sizes() == wholes


def _marker(store: Artifacts) -> bytes:
    """What an object store keeps beside the files of an artifact."""
    path = f"{store.root}/jobs/job_1/report/{MARKER}"
    return b"" if store.local else bytes(store.fs.cat_file(path))


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


def _put_if_absent(store: Artifacts, folder: Path, text: str) -> bool:
    folder.mkdir()
    (folder / "part").write_text(text)
    return store.put_if_absent(folder, "jobs/j/work/shards/000001")


def test_what_is_there_is_not_put_again(store: Artifacts, tmp_path: Path) -> None:
    assert _put_if_absent(store, tmp_path / "first", "1")
    part = store.file("jobs/j/work/shards/000001", "part")
    with part.open() as reader:
        assert not _put_if_absent(store, tmp_path / "late", "2")
        assert (reader.read(), part.read_text()) == ("1", "1")
    assert store.file("jobs/j/work/shards/000001", "part").read_text() == "1"


def test_of_doubles_put_at_once_one_is_there(store: Artifacts, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        put = list(pool.map(lambda n: _put_if_absent(store, tmp_path / str(n), "equal"), range(8)))
    assert any(put)
    assert not store.local or sum(put) == 1
    assert store.file("jobs/j/work/shards/000001", "part").read_text() == "equal"
    if store.local:
        assert [p.name for p in Path(store.root, "jobs/j/work/shards").iterdir()] == ["000001"]


def test_names_are_those_of_whole_artifacts(store: Artifacts, tmp_path: Path) -> None:
    assert store.names("jobs/j/work/shards") == set()
    _put_if_absent(store, tmp_path / "first", "1")
    half = "000002/part" if not store.local else ".000002.half/part"
    store.fs.makedirs(f"{store.root}/jobs/j/work/shards/{half}".rpartition("/")[0])
    store.fs.pipe_file(f"{store.root}/jobs/j/work/shards/{half}", b"1")
    assert store.names("jobs/j/work/shards") == {"000001"}


def test_an_interrupted_put_is_ended_by_the_next(store: Artifacts, tmp_path: Path) -> None:
    if not store.local:
        store.fs.pipe_file(f"{store.root}/jobs/j/work/shards/000001/part", b"1")
    assert not store.exists("jobs/j/work/shards/000001")
    assert _put_if_absent(store, tmp_path / "next", "1")
    assert store.file("jobs/j/work/shards/000001", "part").read_text() == "1"


def test_another_host_sees_what_replaced_its_copy(store: Artifacts, tmp_path: Path) -> None:
    """As where a data set was invalid, was looked at, and its import was resumed and found it whole."""
    other = Artifacts(store.fs.unstrip_protocol(store.root), cache=tmp_path / "other")
    _write(store, "datasets/ds_1", report="invalid")
    assert (other.folder("datasets/ds_1") / "report").read_text() == "invalid"
    _write(store, "datasets/ds_1", report="ready", samples="x")
    folder = other.folder("datasets/ds_1")
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"report": "ready", "samples": "x"}
    assert other.file("datasets/ds_1", "report").read_text() == "ready"


def test_what_was_cut_off_is_no_part_of_what_is_written_next(store: Artifacts) -> None:
    _write(store, "datasets/ds_1", report="half", samples="half")
    if not store.local:
        store.fs.rm_file(f"{store.root}/datasets/ds_1/.complete")
    _write(store, "datasets/ds_1", report="invalid")
    assert [file.name for file in store.folder("datasets/ds_1").iterdir()] == ["report"]


def test_a_full_disk_fails_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Artifacts(str(tmp_path / "store"), cache=tmp_path / "cache")
    store.check()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=4096))
    with pytest.raises(Unavailable, match="disk is full"):
        store.check()


def test_one_file_of_an_artifact(store: Artifacts) -> None:
    with pytest.raises(ArtifactMissing):
        store.file("datasets/ds_1", "report")
    _write(store, "datasets/ds_1", report="r", samples="s")
    for _ in range(2):
        assert store.file("datasets/ds_1", "report").read_text() == "r"
    with pytest.raises(ArtifactMissing):
        store.file("datasets/ds_1", "absent")
    store.folder("datasets/ds_1")
    assert store.file("datasets/ds_1", "samples").read_text() == "s"
    with pytest.raises(ArtifactMissing):
        store.file("datasets/ds_1", "absent")
    store.delete("datasets/ds_1")
    with pytest.raises(ArtifactMissing):
        store.file("datasets/ds_1", "report")


def test_one_file_comes_without_the_others(remote: str, tmp_path: Path) -> None:
    store = Artifacts(remote, cache=tmp_path / "cache")
    _write(store, "datasets/ds_1", report="r", samples="s")
    store.file("datasets/ds_1", "report")
    assert SlowStore.fetched == {"report": 1}
    store.folder("datasets/ds_1")
    assert SlowStore.fetched == {"report": 2, "samples": 1}
    store.file("datasets/ds_1", "samples")
    assert SlowStore.fetched == {"report": 2, "samples": 1}


def test_requests_at_once_share_one_copy(remote: str, tmp_path: Path) -> None:
    store = Artifacts(remote, cache=tmp_path / "cache")
    _write(store, "datasets/ds_1", report="r", samples="s")
    together = threading.Barrier(8)

    def ask(number: int) -> Path:
        together.wait(10)
        return store.folder("datasets/ds_1") if number % 2 else store.file("datasets/ds_1", "report").parent

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert SlowStore.fetched["samples"] == 1
    assert SlowStore.fetched["report"] <= 2  # alone and with the rest, at most


def test_deleting_twice_is_no_error(store: Artifacts) -> None:
    _write(store, "datasets/ds_1", samples="x")
    store.folder("datasets/ds_1")
    store.delete("datasets/ds_1")
    store.delete("datasets/ds_1")
    assert not store.exists("datasets/ds_1")
    with pytest.raises(ArtifactMissing):
        store.folder("datasets/ds_1")


def test_a_folder_of_another_file_system_is_moved_in(elsewhere: Path, tmp_path: Path) -> None:
    store = Artifacts(f"file://{elsewhere}/a", cache=tmp_path / "cache")
    for text in ("one", "two"):
        (tmp_path / "model/deep").mkdir(parents=True)
        (tmp_path / "model/deep/card").write_text(text)
        store.put(tmp_path / "model", "models/mdl_1")
        assert (store.folder("models/mdl_1") / "deep/card").read_text() == text
        assert [path.name for path in (elsewhere / "a/models").iterdir()] == ["mdl_1"]
        assert not (tmp_path / "model").exists()


def test_what_killed_writers_left_goes_after_a_day(artifacts: Artifacts) -> None:
    root = Path(artifacts.root)
    left = {
        "models/.mdl_1.a1b2c3d4": 25,
        "jobs/job_1/.erm.0123456789abcdef0123456789abcdef": 25,
        "models/..mdl_4.a1b2c3d4.partial-0123abcd": 25,
        "pattern_judges/.pat_1.a1b2c3d4": 25,
        "models/.mdl_2.a1b2c3d4": 23,
        "jobs/job_1/work/.store.partial-a1b2c3d4": 25,
        "models/mdl_3": 25,
        "home/.cache.a1b2c3d4": 25,
    }
    for name, hours in left.items():
        (root / name).mkdir(parents=True)
        os.utime(root / name, (time.time() - hours * 3600,) * 2)
    artifacts.tidy()
    assert [name for name in left if (root / name).exists()] == list(left)[4:]


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
