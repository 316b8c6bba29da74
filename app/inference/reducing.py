"""Builds the OpenVINO engine of a pair and measures whether it is good enough to replace torch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from app.inference.engines import graph_store as graphs
from app.inference.engines.graph import Graphs
from app.inference.engines.torch import TorchEngine
from app.inference.engines.upgrade import Proven
from app.inference.measuring import measure, squares
from app.inference.openvino_engine import OpenVinoEngine, Precision
from app.inference.quantizing import IMAGES
from app.inference.turns import is_quick
from app.inference.types import Engine, Ground, Pair
from core.artifacts import Artifacts
from core.errors import Conflict
from models.data.store import Store


def reduce(
    pair: Pair,
    engine: Engine,
    ground: Ground,
    *,
    pause: Callable[[], None],
    stop: threading.Event,
    int8: bool,
    artifacts: Artifacts,
    scratch: Path,
    threads: int,
) -> Proven:
    """Build and measure the engine. Raises `Conflict` without samples to quantize or to measure with."""
    if not isinstance(engine, TorchEngine) or engine.on_cuda:
        return Proven(None, "OpenVINO is for the CPU, and this model runs on a GPU")
    files = [graphs.graph(part, artifacts, stop=stop) for part in pair.parts]
    with TemporaryDirectory(dir=scratch, prefix="int8-") as folder:
        if int8:
            files = _quantized(files, ground.store, engine.image_size, Path(folder), stop)
        pair_of_graphs = Graphs(files[0], files[1] if pair.erm else None)
        candidate = _candidate(pair_of_graphs, engine, ground.store, threads, "f32" if int8 else "bf16")
    measured = measure(candidate, engine, ground, pause=pause)
    if measured.calibration is None:
        return Proven(None, measured.why)
    candidate.calibration = measured.calibration
    kind = f"int8 and {candidate.precision}" if int8 else candidate.precision
    return Proven(candidate, f"{kind}, {measured.why}")


def _quantized(files: list[Path], store: Store, size: int, folder: Path, stop: threading.Event) -> list[Path]:
    """Quantize with images of the training split, because the other splits are for choosing and measuring."""
    rows = store.rows("train")
    if not len(rows):
        raise Conflict("the data set that it was calibrated on has no train split to quantize with")
    spread = rows[np.unique(np.linspace(0, len(rows) - 1, IMAGES).astype(np.int64))]
    np.save(folder / "squares.npy", squares(store, spread, size))
    found = []
    for number, file in enumerate(files):
        target = folder / f"{number}.onnx"
        arguments = [str(file), str(folder / "squares.npy"), str(target)]
        graphs.apart("app.inference.quantizing", arguments, stop, failed="this graph cannot be quantized")
        found.append(target)
    return found


def _candidate(
    files: Graphs, engine: TorchEngine, store: Store, threads: int, precision: Precision
) -> OpenVinoEngine:
    """Use one thread if that is quick enough for the event loop, else all of them."""
    alone = OpenVinoEngine(files, engine, threads=1, precision=precision)
    alone.quick = is_quick(alone, squares(store, np.arange(1), engine.image_size))
    return alone if alone.quick else OpenVinoEngine(files, engine, threads=threads, precision=precision)
