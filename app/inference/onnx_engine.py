"""The ONNX Runtime engine: a pair as two graphs, which answer only if they say what torch says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.inference.calibration import Calibration
from app.inference.engine import TorchEngine
from app.inference.shapes import Explain, Scores

TOLERANCE = 1e-4
"""Most that a logit may differ from torch's: of 1, or of the largest logit where that is more."""

OF_IMAGES = frozenset({"fullgrad", "scorecam"})
"""Methods that perturb the images: no activation is enough for them."""


class Graphs(NamedTuple):
    """The files of a pair's graphs; `erm` None where the pair has no ERM model."""

    model: Path
    erm: Path | None


@dataclass(frozen=True)
class Difference:
    """Between two engines on the same images: the largest of the logits, and the labels that differ."""

    images: int
    logit: float
    labels: int

    @property
    def passes(self) -> bool:
        return self.logit <= TOLERANCE and self.labels == 0  # NaN passes nothing


class OnnxEngine:
    """Implements `Engine`. Logits and activations come from the graphs, maps from torch's head on them.

    It keeps the torch network of the served model: a head that is no linear layer is differentiated,
    and two methods perturb the input. The ERM model's torch network is let go.
    """

    name = "onnxruntime"
    quick = False
    """Set by who measured it."""
    calibration: Calibration | None = None

    def __init__(self, graphs: Graphs, torch_engine: TorchEngine, *, threads: int, cuda: bool) -> None:
        self._model = _session(graphs.model, threads, cuda=cuda)
        self._erm = None if graphs.erm is None else _session(graphs.erm, threads, cuda=cuda)
        self._torch = torch_engine.alone()
        self._graph_bytes = sum(path.stat().st_size for path in graphs if path is not None)

    @property
    def image_size(self) -> int:
        return self._torch.image_size

    @property
    def classes(self) -> int:
        return self._torch.classes

    @property
    def nbytes(self) -> int:
        return self._graph_bytes + self._torch.nbytes

    def run(self, images: NDArray[np.uint8], explain: Explain | None) -> Scores:
        batch = np.divide(images, np.float32(255), dtype=np.float32)  # (N, 3, S, S)
        erm_logits = None if self._erm is None else _outputs(self._erm, batch, "logits")[0]
        if explain is None:
            return Scores(_outputs(self._model, batch, "logits")[0], erm_logits)
        if explain.method in OF_IMAGES:
            seen = self._torch.run(images, explain)
            return Scores(seen.logits, erm_logits, seen.maps, seen.targets)
        logits, activation = _outputs(self._model, batch, "logits", "activation")
        maps, targets = self._torch.explain(activation, logits, explain)
        return Scores(logits, erm_logits, maps, targets)


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


def _session(path: Path, threads: int, *, cuda: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A thread that waits sleeps: spinning takes the core from decoding and from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # An arena for each session would hold the activations of the largest batch it ever saw (0.6 GB for 64
    # images in ResNet-50). malloc keeps freed pages too (`prepare_process`), and all sessions share them.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3  # errors; its warnings are about its own optimisations
    providers: Sequence[Any] = ["CPUExecutionProvider"]
    if cuda:
        providers = [("CUDAExecutionProvider", {"use_tf32": "0"}), *providers]  # TF32 is off by 1e-3
    return onnxruntime.InferenceSession(path, options, providers=providers)


def _outputs(
    session: onnxruntime.InferenceSession, batch: NDArray[np.float32], *names: str
) -> list[NDArray[np.float32]]:
    found: list[NDArray[np.float32]] = session.run(list(names), {"images": batch})
    return found
