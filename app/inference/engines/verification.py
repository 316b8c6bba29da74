"""Decides whether a graph may replace torch, on this machine and with real images."""

from __future__ import annotations

from app.inference.engines import graph_store as graphs
from app.inference.engines.graph import Graphs
from app.inference.engines.onnx import TOLERANCE, OnnxEngine, cuda_available, difference
from app.inference.engines.torch import TorchEngine
from app.inference.engines.upgrade import Proven, Squares
from app.inference.turns import is_quick
from app.inference.types import Engine, Pair
from core.artifacts import Artifacts


def possible(engine: Engine) -> bool:
    """Whether ONNX Runtime can run on this engine's device. A GPU needs `onnxruntime-gpu`."""
    return isinstance(engine, TorchEngine) and (not engine.on_cuda or cuda_available())


def prove(pair: Pair, engine: Engine, images: Squares, *, artifacts: Artifacts, threads: int) -> Proven:
    """Build the ONNX Runtime engine of a pair that torch serves, and compare the two.

    Compares all images in one batch and one image alone, because batch sizes use different kernels.
    """
    if not isinstance(engine, TorchEngine):
        return Proven(None, "it is not torch that serves it")
    files = [artifacts.folder(graphs.key(part.id)) / graphs.FILE for part in pair.parts]
    pair_of_graphs = Graphs(files[0], files[1] if pair.erm else None)
    candidate = _candidate(pair_of_graphs, engine, images, threads)
    for some in (images, images[:1]):
        found = difference(candidate.run(some, None), engine.run(some, None))
        if not found.passes:
            return Proven(
                None,
                f"{found.labels} of {found.images} labels differ between ONNX Runtime and torch, and logits "
                f"by up to {found.logit:.1e} (allowed: {TOLERANCE:g})",
            )
    return Proven(candidate, f"equal to torch on {len(images)} real images")


def _candidate(files: Graphs, engine: TorchEngine, images: Squares, threads: int) -> OnnxEngine:
    """Use one thread if that is quick enough for the event loop, else all of them."""
    if not engine.on_cuda:
        alone = OnnxEngine(files, engine, threads=1, cuda=False)
        alone.quick = is_quick(alone, images)
        if alone.quick:
            return alone
    return OnnxEngine(files, engine, threads=threads, cuda=engine.on_cuda)
