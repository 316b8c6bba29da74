"""The process that exports a model as an ONNX graph and proves that the graph answers as torch does.

`graph_store` starts it as `python -m app.inference.engines.export_process ONNX_FILE MODEL_FOLDER`, with the
folder of a shared backbone as a third argument.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from app.inference.engines.onnx import TOLERANCE, OnnxEngine, difference
from app.inference.engines.torch import TorchEngine
from core.errors import MasktuneError, StorageFull, StorageNotWritable, storage_fault
from core.process import on_parent_exit
from models.backbones.network import Network
from models.export import ModelError, load_model
from models.onnx_export import export_onnx

EXITS: Mapping[type[MasktuneError] | None, int] = {
    StorageFull: os.EX_CANTCREAT,
    StorageNotWritable: os.EX_NOPERM,
    None: os.EX_TEMPFAIL,
}
"""How it ends where the disk, and not the network, is to blame; `graph_store` reads them."""
_NICENESS = 10


def main(target: str, folder: str, backbone: str | None = None) -> None:
    """Runs niced, so that predictions come first, and ends with the process that holds its standard input."""
    os.nice(_NICENESS)
    on_parent_exit(lambda: os._exit(1))
    try:
        network, card = load_model(Path(folder), backbone=None if backbone is None else Path(backbone))
        export_onnx(network, Path(target), card)
        prove(network, Path(target))
    except ModelError as error:
        sys.exit(str(error))
    except OSError as error:  # not the network's fault, as below
        sys.exit(EXITS[storage_fault(error)])
    except MemoryError:
        sys.exit(os.EX_TEMPFAIL)


def prove(network: Network, graph: Path) -> None:
    """Raise `ModelError` unless ONNX Runtime computes torch's labels, and its logits within `TOLERANCE`.

    Compares all images in one batch and one image alone, because batch sizes use different kernels.
    """
    in_torch = TorchEngine(network, None, torch.device("cpu"))
    in_onnx = OnnxEngine(in_torch, graph, threads=1)
    images = _images(network.spec.image_size)
    for some in (images, images[:1]):
        differing = difference(in_onnx.run(some, None), in_torch.run(some, None))
        if not differing.passes:
            raise ModelError(
                f"{differing.labels} of {differing.images} labels differ between ONNX Runtime and PyTorch, "
                f"and logits by up to {differing.logit:.1e} (allowed: {TOLERANCE:g})"
            )


def _images(side: int) -> NDArray[np.uint8]:
    """Random colours in grids of 1×1 to 128×128 fields, two images (3, side, side) of each."""
    generator = torch.Generator().manual_seed(0)
    grids = [torch.rand((2, 3, 2**n, 2**n), generator=generator) for n in range(8)]
    return (torch.cat([interpolate(grid, side) for grid in grids]) * 255).byte().numpy()


if __name__ == "__main__":
    main(*sys.argv[1:])
