"""A float32 graph → a graph with int8 weights and activations, made in a separate process.

ONNX Runtime's quantizer, which is installed anyway, writes the graph, and OpenVINO runs it in int8. NNCF's
graphs were about as fast and as close to torch, but need five more packages. The ranges of the activations
are measured on images of the training split.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from app.inference.files import NICENESS, end_with_parent

IMAGES = 128
"""Number of training images that the ranges are measured on, or all if there are fewer."""


class _Images(CalibrationDataReader):  # type: ignore[misc]  # the library is untyped
    def __init__(self, squares: NDArray[np.uint8]) -> None:
        self._left: Iterator[NDArray[np.uint8]] = iter(squares)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        square = next(self._left, None)
        return None if square is None else {"images": np.divide(square[None], 255, dtype=np.float32)}


def quantize(graph: Path, squares: NDArray[np.uint8], target: Path) -> None:
    """Quantize `graph` and write it to `target`; `squares` (N, 3, S, S) are training images."""
    with TemporaryDirectory(dir=target.parent) as folder:
        folded = Path(folder) / "folded.onnx"
        quant_pre_process(graph, folded, skip_symbolic_shape=True)
        quantize_static(
            folded,
            target,
            _Images(squares),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def main(graph: str, squares: str, target: str) -> None:
    """Run `quantize` on files, niced; ends with the process that holds its standard input."""
    os.nice(NICENESS)
    threading.Thread(target=end_with_parent, daemon=True).start()
    quantize(Path(graph), np.load(squares, allow_pickle=False), Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
