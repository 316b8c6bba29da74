"""Drawn images on their way into review queues: an answer waits for no queue.

Each process puts them into a file of its own, which its user alone may read.
A thread stores what is in it.
What a killed process left is stored when another one starts.
A power cut may lose the last seconds.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

import prometheus_client
from sqlalchemy.exc import DataError, IntegrityError

from app.review_queue import queueing
from app.review_queue.queueing import QueuedImage
from core.queries.review_queue import MonitoredPromise
from core.session import Database
from masktune.contract.ids import new_id

logger = logging.getLogger(__name__)

FILL_SECONDS = 1.0
"""Between two times that the queues are filled."""
MOST_BYTES = 256 * 2**20
"""Of the file of a process: further images are lost, and counted."""
PER_SECOND = 50
"""Images that a process puts into queues: each costs its answers a millisecond of the processor."""
_SETTINGS = """
PRAGMA page_size=4096; PRAGMA auto_vacuum=FULL; PRAGMA secure_delete=ON;
PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
"""
"""The file is locked as long as its process runs.
A kill harms no file in WAL mode, without any wait for the disk."""


class Spool:
    """The file of this process in `folder`. Thread-safe; `lost` counts images."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        lost: prometheus_client.Counter,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._database, self._lost, self._lost_of = database, lost, Counter[str]()
        self._using, self._filling = Lock(), Lock()
        self._files = dict(_left_behind(folder))
        path = folder / f"{new_id('spool')}.sqlite"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        self._own = self._files[path] = _open(path)
        self._own.execute(f"PRAGMA max_page_count={most_bytes // 4096}")
        self._own.execute("CREATE TABLE images (id INTEGER PRIMARY KEY, image TEXT, content BLOB)")

    def append(self, images: Sequence[QueuedImage]) -> None:
        """Put in the images, in their order. What finds no room is lost: no error reaches the caller."""
        with self._using:
            for image in images:
                try:
                    self._own.execute(
                        "INSERT INTO images (image, content) VALUES (?, ?)",
                        (json.dumps(image._asdict() | {"content": None}), image.content),
                    )
                except sqlite3.Error as error:  # the file or the disk is full
                    logger.warning("an image is lost for its review queue: %s", error)
                    self._lose(image.model_id, 1)

    def fill(self, at_most: int = sys.maxsize) -> None:
        """Store the first images. Logs errors: the next call tries again."""
        with self._filling:
            try:
                for path, file in list(self._files.items()):
                    while at_most > 0 and (rows := self._first(file)):
                        at_most -= self._store(file, rows)
                    if at_most > 0 and file is not self._own:
                        self._remove(path)
                for model_id in list(self._lost_of):
                    queueing.store(self._database, model_id, [], lost=self._lost_of[model_id])
                    del self._lost_of[model_id]
            except Exception:  # any error, such as that of a database which restarts
                logger.exception("images could not be put into review queues yet")

    def close(self) -> None:
        """What is not stored stays on the disk, for the next process."""
        for path, file in list(self._files.items()):
            if file.execute("SELECT id FROM images LIMIT 1").fetchone():
                file.close()
            else:
                self._remove(path)

    def _first(self, file: sqlite3.Connection) -> list[tuple[int, str, bytes]]:
        with self._using:
            query = "SELECT id, image, content FROM images ORDER BY id LIMIT ?"
            return file.execute(query, (PER_SECOND,)).fetchall()

    def _store(self, file: sqlite3.Connection, rows: list[tuple[int, str, bytes]]) -> int:
        """Store these first images of the file; return how many may have joined a queue."""
        images, checked = [_decoded(image, content) for _, image, content in rows], 0
        for model_id, batch in itertools.groupby(images, key=lambda image: image.model_id):
            of_model = list(batch)
            try:
                checked += queueing.store(self._database, model_id, of_model)
            except (DataError, IntegrityError, LookupError, TypeError, ValueError):  # they would fail again
                logger.exception("images cannot be put into the review queue of model %s", model_id)
                self._lose(model_id, len(of_model))
        with self._using:
            file.executemany("DELETE FROM images WHERE id = ?", [row[:1] for row in rows])
        return checked

    def _lose(self, model_id: str, images: int) -> None:
        self._lost.inc(images)
        self._lost_of[model_id] += images

    def _remove(self, path: Path) -> None:
        self._files.pop(path).close()
        path.unlink(missing_ok=True)


def _open(path: Path) -> sqlite3.Connection:
    """Open the file for this process alone. Raises sqlite3.OperationalError if another has it."""
    file = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    file.executescript(_SETTINGS)
    return file


def _left_behind(folder: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """The files of processes that are gone."""
    for path in sorted(folder.glob("*.sqlite")):
        try:
            if not path.stat().st_size:  # its process is about to write the first page
                continue
            file = _open(path)
            file.execute("SELECT id FROM images LIMIT 1")
        except (sqlite3.Error, FileNotFoundError):  # its process runs, or another has taken it
            continue
        yield path, file


def _decoded(image: str, content: bytes) -> QueuedImage:
    fields = json.loads(image)
    of = fields["of"] and MonitoredPromise(*fields["of"])
    return QueuedImage(**fields | {"of": of, "content": content})
