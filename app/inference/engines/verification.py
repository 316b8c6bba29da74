"""Decides whether a graph may replace torch, on this machine and with real images."""

from __future__ import annotations

from app.inference.engines import graph_store as graphs
from app.inference.engines.onnx import TOLERANCE, Graphs, OnnxEngine, cuda_available, difference
from app.inference.engines.torch import TorchEngine
from app.inference.engines.upgrade import Proven, Squares
from app.inference.types import Engine, Pair
from core.storage.artifacts import Artifacts


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
    candidate = OnnxEngine(
        Graphs(files[0], files[1] if pair.erm else None), engine, threads=threads, cuda=engine.on_cuda
    )
    for some in (images, images[:1]):
        differing = difference(candidate.run(some, None), engine.run(some, None))
        if not differing.passes:
            return Proven(
                None,
                f"{differing.labels} of {differing.images} labels differ between ONNX Runtime and torch, "
                f"and logits by up to {differing.logit:.1e} (allowed: {TOLERANCE:g})",
            )
    return Proven(candidate, f"equal to torch on {len(images)} real images")
