"""The ONNX Runtime engine: a pair as two graphs, which may answer only if they agree with torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

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


OF_IMAGES = frozenset({"fullgrad"})
"""Methods that torch must compute, from the images."""


class Graphs(NamedTuple):
    """The files of a pair's graphs; `erm` is None if the pair has no ERM model."""

    model: Path
    erm: Path | None


class OnnxEngine:
    """Implements `Engine`. The graphs compute logits and activations, torch's head the maps.

    It keeps the torch network of the served model, because a head that is not a linear layer is
    differentiated, and two methods perturb the input. It drops the ERM model's torch network.
    """

    name = "onnxruntime"

    def __init__(self, graphs: Graphs, torch_engine: TorchEngine, *, threads: int, cuda: bool) -> None:
        """Raises `Conflict` if it should use a GPU and cannot."""
        card = torch_engine.device.index or 0 if cuda else None  # no index means the first GPU
        self._model = _Graph(graphs.model, threads, card)
        self._erm = None if graphs.erm is None else _Graph(graphs.erm, threads, card)
        self._torch = torch_engine.alone()
        self.image_size, self.grey_window = torch_engine.image_size, torch_engine.grey_window
        # An upper bound: a library may keep weights in lower precision than their file.
        files = sum(path.stat().st_size for path in graphs if path is not None)
        self.nbytes = files + self._torch.nbytes

    def run(self, images: NDArray[np.uint8], explain: Explain | None) -> Scores:
        batch = np.divide(images, np.float32(255), dtype=np.float32)  # (N, 3, S, S)
        erm_logits = None if self._erm is None else self._erm.run(batch, "logits")[0]
        if explain is None:
            return Scores(self._model.run(batch, "logits")[0], erm_logits)
        if explain.method in OF_IMAGES:
            return self._torch.run(images, explain)._replace(erm_logits=erm_logits)
        logits, activation = self._model.run(batch, "logits", "activation")
        maps, targets = self._torch.explain(activation, logits, explain)
        return Scores(logits, erm_logits, maps, targets)


class _Graph:
    """A session of ONNX Runtime, usable from several threads at once. `card` is None for the CPU."""

    def __init__(self, path: Path, threads: int, card: int | None) -> None:
        self._session = _session(path, threads, card)

    def run(self, batch: NDArray[np.float32], *names: str) -> list[NDArray[np.float32]]:
        """Return the named outputs (`logits`, `activation`) for (N, 3, S, S) in 0..1."""
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(list(names), {"images": batch})
        except RuntimeException as error:  # ONNX Runtime has no exception class for out of memory
            if "Failed to allocate memory" not in str(error):
                raise
            raise no_memory() from error
        return outputs


def cuda_available() -> bool:
    """Whether the installed ONNX Runtime can use an NVIDIA GPU."""
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def difference(scores: Scores, expected: Scores) -> Difference:
    """Compare `scores` with `expected`, over both models of the pair."""
    pairs = [(scores.logits, expected.logits)]
    if scores.erm_logits is not None and expected.erm_logits is not None:
        pairs.append((scores.erm_logits, expected.erm_logits))
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
