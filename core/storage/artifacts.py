"""Artifacts: immutable folders of files under a key, on a disk or in an object store (fsspec).

A key appears completely or not at all. In a local store, a folder is written under a hidden name and then
renamed. An object store has no rename, so a marker is written last, and a key without its marker does not
exist. Each marker holds a new unique text, by which `core.storage.copies` notices a replaced artifact.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.implementations.local import LocalFileSystem

from core.errors import Unavailable
from core.storage.copies import MARKER, ArtifactMissing, Copies, new_mark, part_callback, remove_abandoned

__all__ = ["MARKER", "ArtifactMissing", "Artifacts", "driver_errors", "store_fault"]

_KINDS = (
    "backbones",
    "calibrations",
    "datasets",
    "exports",
    "features/*",
    "jobs/*",
    "models",
    "pattern_judges",
    "uploads",
)
"""The parents of all keys. Elsewhere, the folder of a store may hold unrelated files; a hidden name in one
of these is an artifact that is being written, replaced or removed."""


RETRIES = 14
"""Retries of each request after `outlast`. s3fs waits 0.1 s, then 1.7 times as long each time, up to 15 s, so
a store may be unreachable for a minute and a half."""


_LEAST_FREE = 16 << 20  # bytes; a job writes more than that before its first result


class Artifacts:
    """A store of artifacts.
    Keys are relative POSIX paths such as `models/mdl_…`.

    `alive` is called, from any thread, for each part of a file that is copied to or from a remote store.
    """

    def __init__(self, url: str, *, cache: Path, alive: Callable[[], object] = lambda: None) -> None:
        # A cached listing would hide what other hosts have written since.
        self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self.root = root.rstrip("/")
        self._alive = alive
        self.copies = Copies(self.fs, self.root, cache / "artifacts", alive=alive)
        """Local copies of a remote store's artifacts, below `cache`."""

    @property
    def local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def outlast(self) -> None:
        """From now on, wait for a remote store that is unreachable or fails (5xx): for processes with nothing
        else to do.

        By itself, s3fs retries after a broken connection, but not after a failed attempt to connect, nor
        after an error that the store answers with.
        """
        if "s3" in self.fs.protocol:
            from botocore.exceptions import EndpointConnectionError  # installed with the extra `s3`
            from s3fs.core import add_retryable_error, set_custom_error_handler

            add_retryable_error(EndpointConnectionError)
            set_custom_error_handler(_is_server_error)
            self.fs.retries = RETRIES

    def exists(self, key: str) -> bool:
        path = self._path(key)
        return bool(self.fs.exists(path) if self.local else self.fs.exists(f"{path}/{MARKER}"))

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """A new local folder to fill; it becomes the artifact when the block ends without an error.

        Writing an existing key replaces it: a stage that runs twice writes the same artifact.
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
        """Make this local folder the artifact under the key; a local store moves it."""
        if self.local:
            self._move_in(folder, Path(self._path(key)))
            return
        path = self._path(key)
        self._remove(path)  # including the remains of an interrupted put
        self._upload(folder, path)

    def put_if_absent(self, folder: Path, key: str) -> bool:
        """Make this local folder, of at least one file, the artifact under the key, unless there is one: that
        stays as it is. Returns whether it was made.

        For artifacts that are equal whoever writes them: nothing is removed, so that one who reads the first
        is not disturbed by a second, nor by what an interrupted put left.
        """
        path = self._path(key)
        if self.exists(key):
            return False
        if self.local:
            return self._move_in(folder, Path(path), replace=False)
        self._upload(folder, path)
        return True

    def folder(self, key: str) -> Path:
        """A local folder with the artifact's files: the artifact itself, or a copy that is fetched once."""
        path = Path(self._path(key))
        if not self.local:
            return self.copies.whole(key)
        if not path.is_dir():
            raise ArtifactMissing(key)
        return path

    def file(self, key: str, name: str) -> Path:
        """One file of the artifact: the file itself, or a copy of only that file, fetched once.

        Raises `ArtifactMissing` also if the artifact exists but has no such file.
        """
        path = Path(self._path(f"{key}/{name}"))
        if not self.local:
            return self.copies.file(key, name)
        if not path.is_file():
            raise ArtifactMissing(f"{key}/{name}")
        return path

    def size(self, key: str) -> int:
        """The bytes of the files of the artifact, and of those below its key; 0 if there are none."""
        return int(self.fs.du(self._path(key)))

    def sizes(self) -> Counter[tuple[str, str]]:
        """The bytes of all artifacts by the first two parts of their keys. Looks at every file."""
        sizes: Counter[tuple[str, str]] = Counter()
        for kind in {kind.partition("/")[0] for kind in _KINDS}:
            for path, file in self.fs.find(f"{self.root}/{kind}", detail=True).items():
                sizes[kind, PurePosixPath(path).relative_to(f"{self.root}/{kind}").parts[0]] += file["size"]
        return sizes

    def names(self, key: str) -> set[str]:
        """The last parts of the keys of the artifacts below this one."""
        if self.local:
            return {path.name for path in Path(self._path(key)).glob("[!.]*")}
        files = map(PurePosixPath, self.fs.find(self._path(key)))
        return {file.parent.name for file in files if file.name == MARKER}

    def delete(self, key: str) -> None:
        """Remove the artifact, if it exists."""
        self._remove(self._path(key))
        if not self.local:
            self.copies.forget(key)

    def tidy(self) -> None:
        """Remove artifacts that killed processes left half-written in a local store."""
        if self.local:
            remove_abandoned(path for kind in _KINDS for path in Path(self.root).glob(f"{kind}/.*"))

    def check(self) -> None:
        """Raise unless a file can be written, read and removed, and a local disk has room for more."""
        probe = self._path(f"probe-{uuid.uuid4().hex}")
        self.fs.makedirs(self.root, exist_ok=True)
        if self.local and shutil.disk_usage(self.root).free < _LEAST_FREE:
            raise Unavailable("its disk is full: free some space")
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
        """Remove what is there; in an object store the marker first, so that no partial artifact exists."""
        if not self.local and self.fs.exists(f"{path}/{MARKER}"):
            self.fs.rm_file(f"{path}/{MARKER}")
        if self.fs.exists(path):
            self.fs.rm(path, recursive=True)

    def _upload(self, folder: Path, path: str) -> None:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            remote = f"{path}/{file.relative_to(folder).as_posix()}"
            self.fs.put_file(str(file), remote, callback=part_callback(self._alive))
        self.fs.pipe_file(f"{path}/{MARKER}", new_mark())

    def _move_in(self, folder: Path, target: Path, *, replace: bool = True) -> bool:
        """Whether the folder is at the target now; without `replace`, another may be there."""
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # mkdtemp creates it for this user only; another process may serve it
        new = _beside(target)
        try:
            _move_folder(folder, new)
            # A rename that survives a power cut must name whole files.
            for path in (*new.rglob("*"), new):
                _sync(path)
            if replace and target.exists():
                old = _beside(target)
                target.rename(old)
                new.rename(target)
                shutil.rmtree(old, ignore_errors=True)
            else:
                new.rename(target)
        except OSError as error:
            if replace or error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # of another's whole folder
                raise
            return False
        finally:
            shutil.rmtree(new, ignore_errors=True)
        _sync(target.parent)
        return True


def driver_errors(url: str) -> tuple[type[Exception], ...]:
    """The exceptions, besides `OSError`, that this store's driver raises if the store is unreachable."""
    if not url.startswith(("s3:", "s3a:")):
        return ()
    from botocore.exceptions import BotoCoreError

    return (BotoCoreError,)


def store_fault(error: Exception) -> str | None:
    """S3's code of this error (such as `InternalError`) or its driver's name for it; None for other errors.

    s3fs raises an `OSError` from an error that the store answered with, and other errors of botocore as they
    are.
    """
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:  # the extra `s3` is not installed
        return None
    match error.__cause__ or error:
        case ClientError() as answer:
            return str(answer.response["Error"].get("Code"))
        case BotoCoreError() as failure:
            return type(failure).__name__
    return None


def _is_server_error(error: Exception) -> bool:
    """Whether the store answered with a status of 500 or above."""
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500


def _beside(target: Path) -> Path:
    """A unique hidden name next to the target, for an artifact that is not yet or no longer there."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}")


def _move_folder(folder: Path, place: Path) -> None:
    """Move a folder, even across file systems: scratch space and store may be two volumes."""
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
