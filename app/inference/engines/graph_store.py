"""ONNX graphs of models: exported once, in a separate process, and kept as artifacts.

An export traces Python code for seconds and takes about as much memory as training; in the front it would
block all requests. The process runs niced, so that predictions come first, and ends when the front does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Lock

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from app.inference.scheduling.limits import Waiters
from app.inference.types import Part
from core.errors import Conflict, NotFound, StorageFull, StorageNotWritable, Unavailable, shutting_down
from core.storage.artifacts import ArtifactMissing, Artifacts

EXPORT_SECONDS = 600
MOST_WAITING = 4
"""Limit of downloads that wait for an export, including the one in progress."""
_RETRY_SECONDS = 10
"""Roughly how long an export takes."""
FILE = "model.onnx"
_POLL_SECONDS = 0.1
_exporting = Lock()  # one at a time in this process


def key(model_id: str) -> str:
    """Return the key of the artifact with a model's graph."""
    return f"exports/{model_id}"


def graph(part: Part, artifacts: Artifacts, *, stop: Event) -> Path:
    """Return the graph's file on the local disk; export it if there is none.

    Raises `Conflict` for a network that cannot be exported, `NotFound` if the model is gone, `StorageFull`,
    `StorageNotWritable`, and `Unavailable` if the export takes too long or `stop` is set.
    """
    if not artifacts.exists(key(part.id)):
        with _turn(stop):
            if not artifacts.exists(key(part.id)):
                _export(part, artifacts, stop)
    return _stored(part, artifacts)


def _stored(part: Part, artifacts: Artifacts) -> Path:
    return artifacts.folder(key(part.id)) / FILE


class Exports:
    """Graphs for downloads. Exports have their own threads, and few downloads may wait for one."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._threads = CapacityLimiter(MOST_WAITING)
        self._waiters = Waiters(
            MOST_WAITING, "downloads are already waiting for an export", retry_seconds=_RETRY_SECONDS
        )
        self._stop = Event()

    async def graph(self, part: Part) -> Path:
        """Like the function `graph`; raises `Overloaded` if too many downloads already wait."""
        try:
            return await run_sync(_stored, part, self._artifacts)
        except ArtifactMissing:
            with self._waiters.another():
                export = partial(graph, part, self._artifacts, stop=self._stop)
                return await run_sync(export, limiter=self._threads)

    def stop(self) -> None:
        """Start no more exports, and end the running one."""
        self._stop.set()


@contextmanager
def _turn(stop: Event) -> Iterator[None]:
    """Allow one export at a time in this process. Raises `Unavailable` once `stop` is set."""
    while not _exporting.acquire(timeout=_POLL_SECONDS):
        _check(stop)
    try:
        _check(stop)
        yield
    finally:
        _exporting.release()


def _check(stop: Event) -> None:
    if stop.is_set():
        raise shutting_down()


def _export(part: Part, artifacts: Artifacts, stop: Event) -> None:
    gone = NotFound(f"the files of model {part.id} are gone: it was deleted")
    try:
        source = artifacts.folder(part.artifact)
    except ArtifactMissing as error:
        raise gone from error
    with artifacts.writing(key(part.id)) as folder:
        run_export(["-m", "app.inference.files", str(source), str(folder / FILE)], stop)
    if not artifacts.exists(part.artifact):  # deleted in the meantime: nothing else would remove the graph
        artifacts.delete(key(part.id))
        raise gone


def run_export(arguments: list[str], stop: Event) -> None:
    """Run Python with these arguments; its standard input stays open for as long as this process lives.

    Raises `Conflict` with the last line of its standard error, and `Unavailable` as `graph` does. Where the
    network is not at fault, raises `Unavailable` if the process was killed (for example because memory ran
    out) or exited with `EX_TEMPFAIL`, `StorageFull` for `EX_CANTCREAT`, `StorageNotWritable` for `EX_NOPERM`.
    """
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        with process:
            try:
                _await(process, stop)
            finally:
                process.kill()
        if process.returncode:
            stderr.seek(0)
            last = (stderr.read().strip().splitlines() or ["it ended without an error message"])[-1]
            if process.returncode == os.EX_CANTCREAT:
                raise StorageFull(
                    "there is not enough space left for an export; free some, or tell the operator"
                )
            if process.returncode == os.EX_NOPERM:
                raise StorageNotWritable("the service cannot write exports to its storage; tell the operator")
            if process.returncode < 0 or process.returncode == os.EX_TEMPFAIL:
                raise Unavailable("the machine has no memory left for this; try again, or tell the operator")
            raise Conflict(f"this network cannot be exported to ONNX; download the safetensors file: {last}")


def _await(process: subprocess.Popen[bytes], stop: Event) -> None:
    deadline = time.monotonic() + EXPORT_SECONDS
    while process.poll() is None:
        stop.wait(_POLL_SECONDS)
        _check(stop)
        if time.monotonic() > deadline:
            raise Unavailable("the export did not finish in time; try again when the service is idle")
