"""The ONNX Runtime engine: a pair as two graphs, which may answer only if they agree with torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from app.inference.engines.graph import GraphEngine, Graphs
from app.inference.engines.torch import TorchEngine, no_memory
from app.inference.types import Explain, Scores
from core.errors import Conflict

TOLERANCE = 1e-4
"""Largest difference of a logit from torch's, relative to the largest logit or to 1 if that is larger."""


@dataclass(frozen=True)
class Difference:
    """Between two engines on the same images: largest difference of a logit, number of differing labels."""

    images: int
    logit: float
    labels: int

    @property
    def passes(self) -> bool:
        return self.logit <= TOLERANCE and self.labels == 0  # NaN never passes


class OnnxEngine(GraphEngine):
    """Implements `Engine`."""

    name = "onnxruntime"

    def __init__(self, graphs: Graphs, torch_engine: TorchEngine, *, threads: int, cuda: bool) -> None:
        """Raises `Conflict` if it should use a GPU and cannot."""
        card = torch_engine.device.index or 0 if cuda else None  # no index means the first GPU
        erm = None if graphs.erm is None else _Graph(graphs.erm, threads, card)
        super().__init__(graphs, _Graph(graphs.model, threads, card), erm, torch_engine)

    def perturbed(self, images: NDArray[np.uint8], batch: NDArray[np.float32], explain: Explain) -> Scores:
        return self._torch.run(images, explain)


class _Graph:
    """A session of ONNX Runtime, usable from several threads at once. `card` is None for the CPU."""

    def __init__(self, path: Path, threads: int, card: int | None) -> None:
        self._session = _session(path, threads, card)

    def run(self, batch: NDArray[np.float32], *names: str) -> list[NDArray[np.float32]]:
        try:
            found: list[NDArray[np.float32]] = self._session.run(list(names), {"images": batch})
        except RuntimeException as error:  # ONNX Runtime has no exception class for out of memory
            if "Failed to allocate memory" not in str(error):
                raise
            raise no_memory() from error
        return found


def cuda_available() -> bool:
    """Whether the installed ONNX Runtime can use an NVIDIA GPU."""
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def difference(found: Scores, expected: Scores) -> Difference:
    """Compare `found` with `expected`, over both models of the pair."""
    pairs = [(found.logits, expected.logits)]
    if found.erm_logits is not None and expected.erm_logits is not None:
        pairs.append((found.erm_logits, expected.erm_logits))
    return Difference(
        images=len(expected.logits),
        logit=max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in pairs),
        labels=sum(int((a.argmax(1) != b.argmax(1)).sum()) for a, b in pairs),
    )


def _session(path: Path, threads: int, card: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Let waiting threads sleep: spinning would take the core from decoding and the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # An arena per session would keep the activations of its largest batch so far (0.6 GB for 64 images in
    # ResNet-50). malloc keeps freed pages too (`prepare_process`), but all sessions share them.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3  # errors only; the warnings are about internal optimisations
    providers: Sequence[Any] = ["CPUExecutionProvider"]
    if card is not None:
        cuda = {
            "device_id": str(card),
            "use_tf32": "0",  # TF32 is off by 1e-3
            "cudnn_conv_algo_search": "HEURISTIC",  # the default tries every algorithm at each new batch size
            "arena_extend_strategy": "kSameAsRequested",  # by default an arena doubles when it grows
        }
        providers = [("CUDAExecutionProvider", cuda), *providers]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    session.disable_fallback()  # else a GPU error would silently continue on the CPU, with only a message
    if card is not None and "CUDAExecutionProvider" not in session.get_providers():  # fell back at start
        raise Conflict("ONNX Runtime cannot use the card; its own log says which library is missing")
    return session
