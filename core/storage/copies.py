"""Local copies of a remote store's artifacts: each is fetched once, and kept while there is space.

An artifact can be replaced: a retried import writes its data set anew. So the name of a copy contains the
mark of the copied artifact, the text of its marker: `datasets/ds_1@MARK`, or `datasets/ds_1@MARK.report.json`
for a single file. The modification time of the copy's folder is that of its last use.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple
from weakref import WeakValueDictionary

from fsspec import AbstractFileSystem, Callback

MARKER = ".complete"
_WRITING = "writing."
ABANDONED_SECONDS = 86_400.0
"""How long a folder that a killed process left half-written is unchanged before it is removed."""
_IN_USE_SECONDS = 3600.0
"""How long a used copy is kept in any case: its user may not have opened the files yet."""


def new_mark() -> bytes:
    """The text of a marker, unlike that of every other."""
    return uuid.uuid4().hex.encode()


class ArtifactMissing(Exception):
    """There is no artifact under this key."""


def part_callback(alive: Callable[[], object]) -> Callback:
    """A callback for fsspec that calls `alive` after each copied part of a file."""
    return Callback(hooks={"alive": lambda *_: alive()})


class _Copy(NamedTuple):
    """A copy on disk. `used`, the time of its last use, is in seconds since 1970."""

    used: float
    bytes: int
    place: Path
    key: str
    mark: str


class Copies:
    """Copies, below `folder`, of artifacts below `root` in the store.

    Processes may share the folder; within a process, a lock per key avoids fetching twice.
    """

    def __init__(
        self, fs: AbstractFileSystem, root: str, folder: Path, *, alive: Callable[[], object] = lambda: None
    ) -> None:
        self._fs, self._root, self._folder, self._alive = fs, root, folder, alive
        self._guard = Lock()
        self._locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A new folder to fill before it is put into the store; removed when the block ends."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_WRITING, dir=self._folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def whole(self, key: str) -> Path:
        """A folder with all files of the current artifact."""
        with self._alone(key):
            while True:
                mark = self._mark(key)
                place = self._place(key, mark)
                if _use(place):
                    return place
                self._fetch(key, mark, place, self._names(key))

    def file(self, key: str, name: str) -> Path:
        """One file of the current artifact, fetched alone unless the whole artifact is here already."""
        with self._alone(key):
            while True:
                mark = self._mark(key)
                whole, alone = self._place(key, mark), self._place(key, f"{mark}.{name}")
                place = next((place for place in (whole, alone) if _use(place)), None)
                if place is None:
                    self._fetch(key, mark, alone, [name])
                elif (place / name).is_file():
                    return place / name
                else:
                    raise ArtifactMissing(f"{key}/{name}")

    def save(self, key: str, place: Path) -> bool:
        """Copy the current artifact to the new folder `place`; False if it was replaced meanwhile."""
        self._fetch(key, self._mark(key), place, self._names(key))
        return place.is_dir()

    def forget(self, key: str) -> None:
        """Remove the copies of the artifact and of everything below its key."""
        place = self._folder / key
        for copy in place.parent.glob(f"{place.name}@*"):
            shutil.rmtree(copy, ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)

    def tidy(self, *, most: int, keep: Collection[str] = ()) -> None:
        """Remove leftovers of killed processes, copies of removed artifacts, and copies beyond `most` bytes.

        The least recently used copies go first. Copies of the keys `keep`, and those used within the last
        hour, stay. A process that has mapped a removed file can still read it: Linux keeps the file until the
        last mapping ends.
        """
        remove_abandoned([path for path in self._folders() if path.name.startswith((".", _WRITING))])
        copies = sorted(self._copies())
        total = sum(copy.bytes for copy in copies)
        for copy in copies:
            idle = time.time() - copy.used > _IN_USE_SECONDS and copy.key not in keep
            if idle and (total > most or self._is_gone(copy)):
                hidden = copy.place.with_name(f".{copy.place.name}.{uuid.uuid4().hex}")
                with suppress(OSError):  # another process was first
                    copy.place.rename(hidden)
                shutil.rmtree(hidden, ignore_errors=True)
                total -= copy.bytes

    def _is_gone(self, copy: _Copy) -> bool:
        try:
            return self._mark(copy.key) != copy.mark
        except ArtifactMissing:
            return True

    def _copies(self) -> Iterator[_Copy]:
        for place in self._folders():
            name, _, marked = place.name.partition("@")
            if not name.startswith((".", _WRITING)):
                key = place.relative_to(self._folder).with_name(name).as_posix()
                with suppress(OSError):  # another process removed it meanwhile
                    size = sum(file.stat().st_size for file in place.rglob("*"))
                    yield _Copy(place.stat().st_mtime, size, place, key, marked.partition(".")[0])

    def _folders(self) -> Iterator[Path]:
        """Every copy, and every partial or removed one."""
        for above, names, _ in os.walk(self._folder):
            copies = [name for name in names if name.startswith((".", _WRITING)) or "@" in name]
            yield from (Path(above, name) for name in copies)
            names[:] = [name for name in names if name not in copies]

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Lock the key within this process, so that concurrent callers share one fetch."""
        with self._guard:
            lock = self._locks.get(key)
            if lock is None:
                lock = self._locks[key] = Lock()
        with lock:
            yield

    def _mark(self, key: str) -> str:
        try:
            text: bytes = self._fs.cat_file(f"{self._root}/{key}/{MARKER}")
        except FileNotFoundError:
            raise ArtifactMissing(key) from None
        return text.decode()

    def _place(self, key: str, mark: str) -> Path:
        return self._folder / f"{key}@{mark}"

    def _names(self, key: str) -> list[str]:
        path = f"{self._root}/{key}"
        names = (file[len(path) :].lstrip("/") for file in self._fs.find(path))
        return [name for name in names if name != MARKER]

    def _fetch(self, key: str, mark: str, place: Path, names: list[str]) -> None:
        """Copy these files to `place`, unless the artifact was replaced meanwhile: they may be of both."""
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        try:
            for name in names:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(
                    f"{self._root}/{key}/{name}",
                    str(partial / name),
                    callback=part_callback(self._alive),
                )
            if self._mark(key) == mark:
                _move(partial, place)
        except FileNotFoundError:
            if self._mark(key) == mark:
                raise ArtifactMissing(f"{key}: {', '.join(names)}") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _use(place: Path) -> bool:
    """Whether the copy exists; if so, set its time of last use."""
    try:
        os.utime(place)
    except FileNotFoundError:
        return False
    return True


def _move(partial: Path, place: Path) -> None:
    try:
        partial.rename(place)
    except OSError:  # another process has fetched it meanwhile: its copy is just as good
        if not place.is_dir():
            raise


def remove_abandoned(folders: Iterable[Path]) -> None:
    """Remove the folders unchanged for a day; another process may still be working in more recent ones."""
    for folder in folders:
        if time.time() - _changed(folder) > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _changed(folder: Path) -> float:
    """The time of the last change in the folder; the current time if the folder vanished meanwhile."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()
