"""The OpenVINO engine, for the CPU: a pair as graphs in bfloat16 or int8, which say nearly what torch says.

So it answers with a calibration of its own or not at all (`reducing`).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import openvino
from numpy.typing import NDArray

from app.inference.calibration import Calibration
from app.inference.engine import TorchEngine
from app.inference.onnx_engine import OF_IMAGES, Graphs
from app.inference.shapes import Explain, Scores

Precision: TypeAlias = Literal["bf16", "f32"]


class OpenVinoEngine:
    """Implements `Engine`. `precision` is that of floating point: `f32` for graphs that are int8 themselves.

    A map is torch's head on the activation of the same pass, as in `OnnxEngine`: it explains this answer.
    """

    name = "openvino"
    quick = False
    """Set by who measured it; so is its calibration, without which it must not answer."""
    calibration: Calibration | None = None

    def __init__(
        self, graphs: Graphs, torch_engine: TorchEngine, *, threads: int, precision: Precision
    ) -> None:
        self._model = _Graph(graphs.model, threads, precision)
        self._erm = None if graphs.erm is None else _Graph(graphs.erm, threads, precision)
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
        """At most: bfloat16 weights take half of their graph's file."""
        return self._graph_bytes + self._torch.nbytes

    @property
    def precision(self) -> str:
        """What floating point is done in: `f32` also where the CPU has no bfloat16."""
        return self._model.precision

    def run(self, images: NDArray[np.uint8], explain: Explain | None) -> Scores:
        batch = np.divide(images, np.float32(255), dtype=np.float32)  # (N, 3, S, S)
        erm_logits = None if self._erm is None else self._erm.run(batch, "logits")[0]
        if explain is None:
            return Scores(self._model.run(batch, "logits")[0], erm_logits)
        logits, activation = self._model.run(batch, "logits", "activation")
        if explain.method in OF_IMAGES:
            seen = self._perturbed(images, logits, explain)
            return Scores(logits, erm_logits, seen.maps, seen.targets)
        maps, targets = self._torch.explain(activation, logits, explain)
        return Scores(logits, erm_logits, maps, targets)

    def _perturbed(self, images: NDArray[np.uint8], logits: NDArray[np.float32], explain: Explain) -> Scores:
        """By torch alone, each image for the class that was answered, which torch might not have."""
        targets = logits.argmax(1).tolist() if explain.target is None else [explain.target] * len(images)
        return Scores.joined(
            [
                self._torch.run(images[n : n + 1], Explain(explain.method, target))
                for n, target in enumerate(targets)
            ]
        )


class _Graph:
    """A compiled graph. Each thread has a request of its own: one request must not run twice at once."""

    def __init__(self, path: Path, threads: int, precision: Precision) -> None:
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # the event loop and the decoders want the cores too
        }
        self._compiled = openvino.Core().compile_model(path, "CPU", options)
        self._of_thread = threading.local()

    @property
    def precision(self) -> str:
        kind: openvino.Type = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        return str(kind.get_type_name())

    def run(self, batch: NDArray[np.float32], *names: str) -> list[NDArray[np.float32]]:
        """The outputs of these names, copied: the next run of the thread writes over its own."""
        request: openvino.InferRequest | None = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        request.infer({"images": batch}, share_inputs=True)
        return [np.array(request.get_tensor(name).data) for name in names]
