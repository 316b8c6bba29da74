"""Which engine serves a pair: ONNX Runtime where the graphs of both halves are stored, else torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from app.inference.engines import graph_store
from app.inference.types import Engine, Pair
from core.loading import collect_seldom, loading
from core.settings import Settings
from core.storage.artifacts import ArtifactMissing, Artifacts

logger = logging.getLogger(__name__)

Check = Callable[[Pair], None]
"""Raises `NotFound` if a model of the pair has been deleted."""


def check_forward(device: str) -> None:
    """Raise unless a real forward pass works in this process on this device (named as in the settings).

    The first call imports torch, which takes seconds.
    """
    with loading():
        from app.inference.engines.torch import probe

    probe(device)


def graphs_serve(settings: Settings) -> bool:
    """Whether graphs may serve in this process: they are proven on the CPU, and serve there only."""
    from models.run import resolve_device  # imports torch

    return settings.engine != "torch" and resolve_device(settings.device).type == "cpu"


def load_engine(settings: Settings, artifacts: Artifacts, check: Check, pair: Pair) -> Engine:
    """Load the pair. Raises `NotFound` if a file is gone, `Unavailable` if one is damaged."""
    with loading():
        from app.inference.engines.torch import load  # imports torch

    threads = settings.threads or len(os.sched_getaffinity(0))
    try:
        in_torch = load(pair, artifacts, device=settings.device, threads=threads)
    finally:
        # The model may have been deleted since the request's plan was read. If it was still loaded, it
        # must not stay in memory; if its files were half deleted, it must not be reported as damaged.
        check(pair)
    engine: Engine = in_torch
    if graphs_serve(settings):
        try:
            files = [
                graph_store.graph_file(graph_store.Graph((network,)), artifacts) for network in pair.networks
            ]
            with loading():
                from app.inference.engines.onnx import OnnxEngine  # imports ONNX Runtime

            engine = OnnxEngine(in_torch, *files, threads=threads)
        except ArtifactMissing:
            pass
        except Exception:  # any error of the library, about a damaged file: torch can answer
            logger.exception("the graphs of model %s cannot be loaded: torch serves it", pair.model.id)
    collect_seldom()
    return engine
