"""Artifacts: immutable files and folders under a key, on a disk or in an object store (fsspec).

A key appears whole or not at all. On a local store a folder is written beside its place and
renamed; in an object store, which has no rename, a marker is written last and a key without its
marker does not exist. The marker holds a text of its own each time, by which `core.copies` tells
what was written first from what replaced it.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.implementations.local import LocalFileSystem

from core.copies import MARKER, ArtifactMissing, Copies, nobody, told_at_each_part
from core.leftovers import remove_abandoned

__all__ = ["MARKER", "ArtifactMissing", "Artifacts", "driver_errors"]

_KINDS = ("calibrations", "datasets", "exports", "jobs/*", "models", "uploads")
"""Where the last part of every key lies. The folder of a store may hold other people's files beside; what has
a hidden name in here is being written, replaced or removed."""


RETRIES = 14
"""Of each request, by who outlasts: s3fs waits 0.1 s and each time 1.7 times as long, 15 s at most, so that a
store may be away for a minute and a half."""


class Artifacts:
    """A store of artifacts. Keys are relative POSIX paths such as `models/mdl_…`.

    `alive` is called, from any thread, at each part of a file that goes to a remote store or comes from it.
    """

    def __init__(self, url: str, *, cache: Path, alive: Callable[[], object] = nobody) -> None:
        # A listing that is kept would hide what another host has written since.
        self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self.root = root.rstrip("/")
        self._alive = alive
        self.copies = Copies(self.fs, self.root, cache / "artifacts", alive=alive)
        """What of a remote store is on this disk, below `cache`."""

    @property
    def local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def outlast(self) -> None:
        """Wait for a remote store that nobody reaches, from now on: for who has nothing else to do.

        s3fs does so where a connection breaks, but not where none is made.
        """
        if "s3" in self.fs.protocol:
            from botocore.exceptions import EndpointConnectionError  # of an extra, as s3fs is
            from s3fs.core import add_retryable_error

            add_retryable_error(EndpointConnectionError)
            self.fs.retries = RETRIES

    def exists(self, key: str) -> bool:
        path = self._path(key)
        return bool(self.fs.exists(path) if self.local else self.fs.exists(f"{path}/{MARKER}"))

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """A new local folder to fill; it becomes the artifact when the block ends well.

        Writing a key again replaces it: a stage that is run twice writes the same thing.
        """
        if not self.local:
            with self.copies.writing() as folder:
                yield folder
                self.put(folder, key)
            return
        target = Path(self._path(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
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
        self._remove(path)  # what a put that was cut off left there, too
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            remote = f"{path}/{file.relative_to(folder).as_posix()}"
            self.fs.put_file(str(file), remote, callback=told_at_each_part(self._alive))
        self.fs.pipe_file(f"{path}/{MARKER}", uuid.uuid4().hex.encode())

    def folder(self, key: str) -> Path:
        """A local folder with the artifact's files: the thing itself, or a copy fetched once."""
        path = Path(self._path(key))
        if not self.local:
            return self.copies.whole(key)
        if not path.is_dir():
            raise ArtifactMissing(key)
        return path

    def file(self, key: str, name: str) -> Path:
        """One file of the artifact: the thing itself, or a copy of it alone, fetched once.

        `ArtifactMissing` where the artifact has no such file, too.
        """
        path = Path(self._path(f"{key}/{name}"))
        if not self.local:
            return self.copies.file(key, name)
        if not path.is_file():
            raise ArtifactMissing(f"{key}/{name}")
        return path

    def delete(self, key: str) -> None:
        """Remove the artifact; one that is not there is no error."""
        self._remove(self._path(key))
        if not self.local:
            self.copies.forget(key)

    def tidy(self) -> None:
        """Remove what killed processes left half-written in a local store."""
        if self.local:
            remove_abandoned(path for kind in _KINDS for path in Path(self.root).glob(f"{kind}/.*"))

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

    def _remove(self, path: str) -> None:
        """Remove what lies there; in an object store its marker first, so that half of it does not exist."""
        if not self.local and self.fs.exists(f"{path}/{MARKER}"):
            self.fs.rm_file(f"{path}/{MARKER}")
        if self.fs.exists(path):
            self.fs.rm(path, recursive=True)

    def _move_in(self, folder: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # mkdtemp makes it private to the writer; another process serves it
        new = _beside(target)
        try:
            _bring(folder, new)
            _sync_tree(new)
            if target.exists():
                old = _beside(target)
                target.rename(old)
                new.rename(target)
                shutil.rmtree(old, ignore_errors=True)
            else:
                new.rename(target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        _sync(target.parent)


def driver_errors(url: str) -> tuple[type[Exception], ...]:
    """What the driver of this store raises, beside `OSError`, where it cannot be asked."""
    if not url.startswith(("s3:", "s3a:")):
        return ()
    from botocore.exceptions import BotoCoreError

    return (BotoCoreError,)


def _beside(target: Path) -> Path:
    """A hidden name of its own: what is under it is not there yet, or no more."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}")


def _bring(folder: Path, place: Path) -> None:
    """Move a folder, from another file system too: scratch space and store may be two volumes."""
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(folder, place)
        shutil.rmtree(folder, ignore_errors=True)


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
