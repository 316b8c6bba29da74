"""The ONNX Runtime engine: a pair as two graphs, which answer only if they say what torch says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from app.inference.engine import TorchEngine, no_memory
from app.inference.graph_engine import GraphEngine, Graphs
from app.inference.shapes import Explain, Scores
from core.errors import Conflict

TOLERANCE = 1e-4
"""Most that a logit may differ from torch's: of 1, or of the largest logit where that is more."""


@dataclass(frozen=True)
class Difference:
    """Between two engines on the same images: the largest of the logits, and the labels that differ."""

    images: int
    logit: float
    labels: int

    @property
    def passes(self) -> bool:
        return self.logit <= TOLERANCE and self.labels == 0  # NaN passes nothing


class OnnxEngine(GraphEngine):
    """Implements `Engine`."""

    name = "onnxruntime"

    def __init__(self, graphs: Graphs, torch_engine: TorchEngine, *, threads: int, cuda: bool) -> None:
        """Raises `Conflict` where it is to use a card and cannot."""
        card = torch_engine.device.index or 0 if cuda else None  # without a number it is the first
        erm = None if graphs.erm is None else _Graph(graphs.erm, threads, card)
        super().__init__(graphs, _Graph(graphs.model, threads, card), erm, torch_engine)

    def perturbed(self, images: NDArray[np.uint8], batch: NDArray[np.float32], explain: Explain) -> Scores:
        return self._torch.run(images, explain)


class _Graph:
    """A session of ONNX Runtime; it may run in several threads at once. `card` None is the CPU."""

    def __init__(self, path: Path, threads: int, card: int | None) -> None:
        self._session = _session(path, threads, card)

    def run(self, batch: NDArray[np.float32], *names: str) -> list[NDArray[np.float32]]:
        try:
            found: list[NDArray[np.float32]] = self._session.run(list(names), {"images": batch})
        except RuntimeException as error:  # it has no class of its own for that
            if "Failed to allocate memory" not in str(error):
                raise
            raise no_memory() from error
        return found


def cuda_available() -> bool:
    """Whether the installed ONNX Runtime can use an NVIDIA card."""
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def difference(found: Scores, expected: Scores) -> Difference:
    """How far `found` is from `expected`, over both models of the pair."""
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
    # A thread that waits sleeps: spinning takes the core from decoding and from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # An arena for each session would hold the activations of the largest batch it ever saw (0.6 GB for 64
    # images in ResNet-50). malloc keeps freed pages too (`prepare_process`), and all sessions share them.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3  # errors; its warnings are about its own optimisations
    providers: Sequence[Any] = ["CPUExecutionProvider"]
    if card is not None:
        cuda = {
            "device_id": str(card),
            "use_tf32": "0",  # off by 1e-3
            "cudnn_conv_algo_search": "HEURISTIC",  # by default each new size of batch tries every algorithm
            "arena_extend_strategy": "kSameAsRequested",  # by default each session's doubles when it grows
        }
        providers = [("CUDAExecutionProvider", cuda), *providers]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    session.disable_fallback()  # after an error of the card it would go on on the CPU, and only print it
    if card is not None and "CUDAExecutionProvider" not in session.get_providers():  # the same, at its start
        raise Conflict("ONNX Runtime cannot use the card here; its own log says which library it misses")
    return session
