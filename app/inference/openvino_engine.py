"""The OpenVINO engine, for CPUs: a pair as graphs in bfloat16 or int8, which only approximate torch.

It therefore answers only with a calibration of its own (`reducing`).
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import openvino
from numpy.typing import NDArray

from app.inference.engines.graph import GraphEngine, Graphs
from app.inference.engines.torch import TorchEngine
from app.inference.types import Explain, Scores

Precision: TypeAlias = Literal["bf16", "f32"]


class OpenVinoEngine(GraphEngine):
    """Implements `Engine`. `precision` is the floating-point precision; use `f32` for graphs in int8.

    `reducing` sets the calibration after measuring the engine; without one it must not answer.
    """

    name = "openvino"

    def __init__(
        self, graphs: Graphs, torch_engine: TorchEngine, *, threads: int, precision: Precision
    ) -> None:
        model = _Graph(graphs.model, threads, precision)
        erm = None if graphs.erm is None else _Graph(graphs.erm, threads, precision)
        super().__init__(graphs, model, erm, torch_engine)
        self.precision = model.precision
        """The floating-point precision in use: also `f32` if the CPU has no bfloat16."""

    def perturbed(self, images: NDArray[np.uint8], batch: NDArray[np.float32], explain: Explain) -> Scores:
        """Let torch make the maps, image by image; the default target is this engine's prediction, which may
        differ from torch's."""
        logits = self._model.run(batch, "logits")[0]
        targets = logits.argmax(1).tolist() if explain.target is None else [explain.target] * len(images)
        seen = Scores.joined(
            [
                self._torch.run(images[n : n + 1], Explain(explain.method, target))
                for n, target in enumerate(targets)
            ]
        )
        return seen._replace(logits=logits)


@cache
def _core() -> openvino.Core:
    """Return the process's only core, which is never freed.

    The CPU plugin installs an alternate signal stack (sigaltstack(2)) in the thread that first compiles with
    it, and restores the previous one when it is destroyed. If the first of two plugins is destroyed first,
    the thread is left with a freed stack, and its next signal crashes the process (SIGSEGV; OpenVINO 2026.4).
    """
    return openvino.Core()


class _Graph:
    """A compiled graph. Each thread has its own infer request, which must not run twice at once."""

    def __init__(self, path: Path, threads: int, precision: Precision) -> None:
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # the event loop and the decoders need the cores too
        }
        self._compiled = _core().compile_model(path, "CPU", options)
        self._of_thread = threading.local()

    @property
    def precision(self) -> str:
        kind: openvino.Type = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        return str(kind.get_type_name())

    def run(self, batch: NDArray[np.float32], *names: str) -> list[NDArray[np.float32]]:
        """Return copies of the named outputs: the thread's next run overwrites the originals."""
        request: openvino.InferRequest | None = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        request.infer({"images": batch}, share_inputs=True)
        return [np.array(request.get_tensor(name).data) for name in names]
