"""The ONNX Runtime engine: a pair as two graphs that were proven to answer as torch does, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.inference.engines.torch import TorchEngine
from app.inference.types import Explain, Scores

TOLERANCE = 1e-4
"""Largest difference of a logit or feature from torch's, relative to the largest or to 1 if that is more."""


@dataclass(frozen=True)
class Difference:
    """Between a model in two engines, on the same images: largest of a logit, number of other labels, largest
    of a feature, 0 if they were not requested."""

    images: int
    logit: float
    labels: int
    feature: float = 0.0

    @property
    def passes(self) -> bool:
        # NaN never passes
        return self.logit <= TOLERANCE and self.feature <= TOLERANCE and self.labels == 0


OF_IMAGES = frozenset({"fullgrad"})
"""Methods that torch must compute, from the images."""


class OnnxEngine:
    """Implements `Engine`.
    The graphs compute logits, features and activations, torch's head the maps.

    It keeps the torch network of the served model, because a head that is not a linear layer is
    differentiated, and `fullgrad` looks at the images. It drops the ERM model's torch network.
    """

    name = "onnxruntime"

    def __init__(
        self, torch_engine: TorchEngine, graph: Path, erm_graph: Path | None = None, *, threads: int
    ) -> None:
        """`erm_graph` is None if the pair has no ERM model."""
        self._model = _session(graph, threads)
        self._erm = None if erm_graph is None else _session(erm_graph, threads)
        self._torch = torch_engine.alone()
        self.image_size, self.grey_window = torch_engine.image_size, torch_engine.grey_window
        # An upper bound: a library may keep weights in lower precision than their file.
        files = sum(path.stat().st_size for path in (graph, erm_graph) if path is not None)
        self.nbytes = files + self._torch.nbytes

    def run(self, images: NDArray[np.uint8], explain: Explain | None, *, features: bool = False) -> Scores:
        batch = np.divide(images, np.float32(255), dtype=np.float32)  # (N, 3, S, S)
        erm_logits = None if self._erm is None else _run(self._erm, batch, "logits")[0]
        if explain is not None and explain.method in OF_IMAGES:
            return self._torch.run(images, explain, features=features)._replace(erm_logits=erm_logits)
        names = ["logits"] + ["features"] * features + ["activation"] * (explain is not None)
        outputs = dict(zip(names, _run(self._model, batch, *names), strict=True))
        scores = Scores(outputs["logits"], erm_logits, features=outputs.get("features"))
        if explain is None:
            return scores
        maps, targets = self._torch.explain(outputs["activation"], scores.logits, explain)
        return scores._replace(maps=maps, targets=targets)


def difference(scores: Scores, expected: Scores) -> Difference:
    """Compare the logits of `scores` with those of `expected`, and the features if these have any."""
    logits, others = scores.logits, expected.logits
    difference = Difference(
        images=len(logits),
        logit=_largest(logits, others),
        labels=int((logits.argmax(1) != others.argmax(1)).sum()),
    )
    if scores.features is None or expected.features is None:
        return difference
    return replace(difference, feature=_largest(scores.features, expected.features))


def _largest(values: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference, relative to the largest value or to 1 if that is larger."""
    return float(np.abs(values - expected).max() / max(1.0, np.abs(expected).max()))


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Let waiting threads sleep: spinning would take the core from decoding and the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # An arena per session would keep the activations of its largest batch so far (0.6 GB for 64 images in
    # ResNet-50). malloc keeps freed pages too (`prepare_process`), but all sessions share them.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3  # errors only; the warnings are about internal optimisations
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(
    session: onnxruntime.InferenceSession, batch: NDArray[np.float32], *names: str
) -> list[NDArray[np.float32]]:
    """Return the named outputs (`logits`, `activation`, `features`) for (N, 3, S, S) in 0..1. Thread-safe."""
    outputs: list[NDArray[np.float32]] = session.run(names, {"images": batch})
    return outputs
