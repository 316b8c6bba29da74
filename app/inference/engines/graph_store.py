"""ONNX graphs of models: exported and proven once, in a separate process, and kept as artifacts.

An export traces Python code for seconds and takes about as much memory as training; in the front it would
block all requests. The process runs niced, so that predictions come first, and ends when the front does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from threading import BoundedSemaphore, Event
from typing import NamedTuple

from anyio.to_thread import run_sync

from app.inference.types import Pair, StoredNetwork
from core.errors import (
    Conflict,
    MasktuneError,
    NotFound,
    StorageFull,
    StorageNotWritable,
    Unavailable,
    busy,
    shutting_down,
)
from core.storage.artifacts import ArtifactMissing, Artifacts
from masktune.contract.hyperparameters import ScoreName
from models.selective import SCORES, TrainingNeighbours

logger = logging.getLogger(__name__)

EXPORT_SECONDS = 600
MOST_WAITING = 4
"""Limit of downloads and aliases that wait for an export, including the one in progress."""
_RETRY_SECONDS = 10
"""Roughly how long an export takes."""
FILE = "model.onnx"
_POLL_SECONDS = 0.1


class Graph(NamedTuple):
    """A graph that can be exported: of one network, from images to logits; or, with a `score`, of a model and
    the ERM model that the score needs, from an image to the answer (`models.onnx_export`)."""

    networks: Sequence[StoredNetwork]
    score: ScoreName | None = None
    tells_unlike: bool = False
    """Whether it compares the image with the training images."""

    @property
    def key(self) -> str:
        return key(self.networks[0].id, self.score, tells_unlike=self.tells_unlike)


def key(model_id: str, score: ScoreName | None = None, *, tells_unlike: bool = False) -> str:
    """Return the key of the artifact with a model's graph. There is none before the graph is proven."""
    return f"exports/{model_id}" + (f"-{score}" if score else "") + ("-unlike" if tells_unlike else "")


def keys(model_id: str) -> list[str]:
    """Return the keys of all graphs that a model may have."""
    answers = [key(model_id, score, tells_unlike=tells) for score in SCORES for tells in (False, True)]
    return [key(model_id), *answers]


def graph_file(graph: Graph, artifacts: Artifacts) -> Path:
    """Return the graph's file on the local disk, or raise `ArtifactMissing`."""
    return artifacts.folder(graph.key) / FILE


def constants(
    temperature: float, thresholds: Sequence[float], neighbours: TrainingNeighbours | None = None
) -> bytes:
    """Return what is missing at the end of a graph of answers; `thresholds` are log-probabilities, one for
    each label; `neighbours` belong to a graph that tells unlike images. Serialised messages of protobuf merge
    when they are joined."""
    import numpy as np
    from onnx import GraphProto, ModelProto  # takes half a second, and few ask for a graph
    from onnx.numpy_helper import from_array

    numbers = {
        "temperature": np.array(temperature, np.float64),
        "thresholds": np.array(thresholds, np.float64),
    }
    if neighbours is not None:
        numbers["unlike_threshold"] = np.array(neighbours.threshold, np.float64)
        numbers["vectors"] = neighbours.vectors.astype(np.float16)  # exact: as in its file
    tensors = [from_array(array, name) for name, array in numbers.items()]
    return bytes(ModelProto(graph=GraphProto(initializer=tensors)).SerializeToString())


class Exports:
    """Exports graphs, one at a time in this process, for downloads and for aliases."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._stop = Event()
        self._places = BoundedSemaphore(MOST_WAITING)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="export")

    async def file(self, graph: Graph) -> Path:
        """Return the graph's file on the local disk; export it if there is none.

        Raises `Conflict` for a network that cannot be exported or whose graph answers unlike torch,
        `NotFound` if the model is gone, `StorageFull`, `StorageNotWritable`, `Overloaded` if too many wait
        already, and `Unavailable` if the export takes too long or the service ends.
        """
        try:
            return await run_sync(graph_file, graph, self._artifacts)
        except ArtifactMissing:
            await asyncio.wrap_future(self._submit([graph]))
        return await run_sync(graph_file, graph, self._artifacts)

    def begin(self, pair: Pair) -> None:
        """Export the graphs that the pair lacks, in the background. Thread-safe. Failures are only logged."""
        try:
            self._submit([Graph((network,)) for network in pair.networks]).add_done_callback(
                partial(_log, pair)
            )
        except MasktuneError as error:
            logger.warning("the graphs of model %s are not exported: %s", pair.model.id, error.detail)

    def stop(self) -> None:
        """Start no more exports, and end the running one."""
        self._stop.set()

    def close(self) -> None:
        """`stop`, and wait for the end."""
        self.stop()
        self._thread.shutdown()

    def _submit(self, graphs: Sequence[Graph]) -> Future[None]:
        if not self._places.acquire(blocking=False):
            raise busy(f"{MOST_WAITING} exports are already waiting", seconds=_RETRY_SECONDS)
        export = self._thread.submit(self._complete, graphs)
        export.add_done_callback(lambda _: self._places.release())
        return export

    def _complete(self, graphs: Sequence[Graph]) -> None:
        for graph in graphs:
            _check(self._stop)
            if not self._artifacts.exists(graph.key):
                _export(graph, self._artifacts, self._stop)


def _log(pair: Pair, export: Future[None]) -> None:
    error = export.exception()
    if error is None:
        logger.info("the graphs of model %s are stored: its next load takes them", pair.model.id)
    elif isinstance(error, MasktuneError):
        logger.warning("the graphs of model %s are not exported: %s", pair.model.id, error.detail)
    else:  # any error of a store
        logger.error("the graphs of model %s are not exported", pair.model.id, exc_info=error)


def _check(stop: Event) -> None:
    if stop.is_set():
        raise shutting_down()


def _export(graph: Graph, artifacts: Artifacts, stop: Event) -> None:
    model = graph.networks[0]
    gone = NotFound(f"the files of model {model.id} are gone: it was deleted")
    try:
        sources = [_folders(network, artifacts) for network in graph.networks]
    except ArtifactMissing as error:
        raise gone from error
    with artifacts.writing(graph.key) as folder:
        facts = {"score": graph.score, "tells_unlike": graph.tells_unlike}
        job = json.dumps({"file": str(folder / FILE), "networks": sources} | facts)
        run_export(["-m", "app.inference.engines.export_process", job], stop)
    if not artifacts.exists(model.artifact):  # deleted in the meantime: nothing else would remove the graph
        artifacts.delete(graph.key)
        raise gone


def _folders(network: StoredNetwork, artifacts: Artifacts) -> list[str]:
    """Return the folder of a network and, if it shares one, that of its backbone."""
    return [str(artifacts.folder(key)) for key in (network.artifact, network.backbone_artifact) if key]


def run_export(arguments: list[str], stop: Event) -> None:
    """Run Python with these arguments; its standard input stays open for as long as this process lives.

    Raises `Conflict` with the last line of its standard error, and `Unavailable` as `Exports.graph` does.
    Where the network is not at fault, raises `Unavailable` if the process was killed (for example because
    memory ran out) or exited with `EX_TEMPFAIL`, `StorageFull` for `EX_CANTCREAT`, `StorageNotWritable` for
    `EX_NOPERM`.
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
                    "there is not enough space left for an export; free some, or have more added"
                )
            if process.returncode == os.EX_NOPERM:
                raise StorageNotWritable("the service cannot write exports to its storage; its log says why")
            if process.returncode < 0 or process.returncode == os.EX_TEMPFAIL:
                raise Unavailable("the machine has no memory left for this; try again, or have more added")
            raise Conflict(f"this network cannot be exported to ONNX; download the safetensors file: {last}")


def _await(process: subprocess.Popen[bytes], stop: Event) -> None:
    deadline = time.monotonic() + EXPORT_SECONDS
    while process.poll() is None:
        stop.wait(_POLL_SECONDS)
        _check(stop)
        if time.monotonic() > deadline:
            raise Unavailable("the export did not finish in time; try again when the service is idle")
