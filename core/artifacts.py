"""Artifacts: immutable files and folders under a key, on a disk or in an object store (fsspec).

A key appears whole or not at all. On a local store a folder is written beside its place and
renamed; in an object store, which has no rename, a marker is written last and a key without its
marker does not exist.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.implementations.local import LocalFileSystem

MARKER = ".complete"


class ArtifactMissing(Exception):
    """There is no artifact under this key."""


class Artifacts:
    """A store of artifacts. Keys are relative POSIX paths such as `models/mdl_…`."""

    def __init__(self, url: str, *, cache: Path) -> None:
        self.fs, root = fsspec.core.url_to_fs(url)
        self.root = root.rstrip("/")
        self.cache = cache
        """Where folders of a remote store are kept while they are used here."""

    @property
    def local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def exists(self, key: str) -> bool:
        path = self._path(key)
        return bool(self.fs.exists(path) if self.local else self.fs.exists(f"{path}/{MARKER}"))

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """A new local folder to fill; it becomes the artifact when the block ends well.

        Writing a key again replaces it: a stage that is run twice writes the same thing.
        """
        if self.local:
            target = Path(self._path(key))
            target.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        else:
            self.cache.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="writing.", dir=self.cache))
        try:
            yield folder
            self.put(folder, key)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, folder: Path, key: str) -> None:
        """Make this local folder the artifact under the key; on a local store it is moved."""
        if self.local:
            self._move_in(folder, Path(self._path(key)))
            return
        path = self._path(key)
        if self.fs.exists(f"{path}/{MARKER}"):
            self.fs.rm(path, recursive=True)
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.fs.put_file(str(file), f"{path}/{file.relative_to(folder).as_posix()}")
        self.fs.pipe_file(f"{path}/{MARKER}", b"")

    def folder(self, key: str) -> Path:
        """A local folder with the artifact's files: the thing itself, or a copy fetched once."""
        if self.local:
            path = Path(self._path(key))
            if not path.is_dir():
                raise ArtifactMissing(key)
            return path
        return self._fetched(key)

    def delete(self, key: str) -> None:
        """Remove the artifact; one that is not there is no error."""
        path = self._path(key)
        if not self.local and self.fs.exists(f"{path}/{MARKER}"):
            self.fs.rm_file(f"{path}/{MARKER}")
        if self.fs.exists(path):
            self.fs.rm(path, recursive=True)
        if not self.local:
            shutil.rmtree(self.cache / key, ignore_errors=True)

    def check(self) -> None:
        """Raise unless a file can be written, read and removed."""
        probe = self._path(f"probe-{uuid.uuid4().hex}")
        self.fs.makedirs(self.root, exist_ok=True)
        self.fs.pipe_file(probe, b"masktune")
        try:
            if self.fs.cat_file(probe) != b"masktune":
                raise OSError("the store returned other bytes than were written")
        finally:
            self.fs.rm_file(probe)

    def _path(self, key: str) -> str:
        parts = PurePosixPath(key).parts
        if not parts or any(p in ("", ".", "..", "/") for p in parts):
            raise ValueError(f"not an artifact key: {key!r}")
        return f"{self.root}/{'/'.join(parts)}"

    def _move_in(self, folder: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # mkdtemp makes it private to the writer; another process serves it
        _sync_tree(folder)
        if target.exists():
            old = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
            target.rename(old)
            folder.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            folder.rename(target)
        _sync(target.parent)

    def _fetched(self, key: str) -> Path:
        path, place = self._path(key), self.cache / key
        if place.is_dir():
            return place
        if not self.fs.exists(f"{path}/{MARKER}"):
            raise ArtifactMissing(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        try:
            for name in self.fs.find(path):
                relative = name[len(path) :].lstrip("/")
                if relative != MARKER:
                    (scratch / relative).parent.mkdir(parents=True, exist_ok=True)
                    self.fs.get_file(name, str(scratch / relative))
            try:
                scratch.rename(place)
            except OSError:  # another thread or process fetched it meanwhile: its copy is as good
                if not place.is_dir():
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return place


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    """Reach the disk before the name does: a rename that survives a power cut must name whole files."""
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)
