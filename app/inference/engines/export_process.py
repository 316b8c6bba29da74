"""The process that exports a model as an ONNX graph and proves that the graph answers as torch does.

`graph_store` starts it as `python -m app.inference.engines.export_process JOB`. The job is a JSON object: the
`file` to write; the `networks`, each the list of its folder and, if it shares one, that of its backbone; and
the `score` of a graph of answers, else null, and whether it `tells_unlike` images.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from app.inference.engines.graph_store import constants
from app.inference.engines.onnx import TOLERANCE, OnnxEngine, difference
from app.inference.engines.torch import TorchEngine
from core.errors import MasktuneError, StorageFull, StorageNotWritable, storage_fault
from core.process import on_parent_exit
from masktune.contract.hyperparameters import ScoreName
from models.backbones.network import Network
from models.data.grey import LEVELS, to_8_bit
from models.data.images.decoding import square_array
from models.export import ModelCard, ModelError, load_model
from models.mitigation.features import HeadError, has_linear_layer, linear_layer
from models.onnx_export import export_answers, export_onnx
from models.selective import NEIGHBOURS, TrainingNeighbours
from models.selective import score as score_of

EXITS: Mapping[type[MasktuneError] | None, int] = {
    StorageFull: os.EX_CANTCREAT,
    StorageNotWritable: os.EX_NOPERM,
    None: os.EX_TEMPFAIL,
}
"""How it ends where the disk, and not the network, is to blame; `graph_store` reads them."""
_NICENESS = 10
_SIZES = ((1, 1), (1, 300), (300, 1), (7, 500), (61, 43), (224, 224))
"""Heights and widths of the images that prove a graph of answers."""
_TEMPERATURE = 1.5


def main(job: str) -> None:
    """Runs niced, so that predictions come first, and ends with the process that holds its standard input."""
    os.nice(_NICENESS)
    gc.disable()  # which would take a sixth of the time, and find 20 MB
    on_parent_exit(lambda: os._exit(1))
    try:
        export(**json.loads(job))
    except (HeadError, ModelError) as error:
        sys.exit(str(error))
    except OSError as error:  # not the network's fault, as below
        sys.exit(EXITS[storage_fault(error)])
    except MemoryError:
        sys.exit(os.EX_TEMPFAIL)


def export(
    file: str, networks: Sequence[Sequence[str]], score: ScoreName | None, *, tells_unlike: bool
) -> None:
    """Write the proven graph. Raises `ModelError`, `HeadError`, OSError."""
    loaded = [
        load_model(Path(folder), backbone=Path(backbone[0]) if backbone else None)
        for folder, *backbone in networks
    ]
    network, card = loaded[0]
    if score is None:
        export_onnx(network, Path(file), card)
        prove(network, Path(file))
    else:
        erm = loaded[1][0] if len(loaded) > 1 else None
        export_answers([one for one, _ in loaded], Path(file), card, score, tells_unlike=tells_unlike)
        engine = TorchEngine(network, erm, torch.device("cpu"))
        neighbours = _some_neighbours(network) if tells_unlike else None
        prove_answers(engine, card, Path(file), score, neighbours=neighbours)


def prove(network: Network, graph: Path) -> None:
    """Raise `ModelError` unless ONNX Runtime computes torch's labels, and within `TOLERANCE` its logits and,
    where the last layer is linear, features.

    Compares all images in one batch and one image alone, because batch sizes use different kernels.
    """
    in_torch = TorchEngine(network, None, torch.device("cpu"))
    in_onnx = OnnxEngine(in_torch, graph, threads=1)
    images, features = _images(network.spec.image_size), has_linear_layer(network)
    for some in (images, images[:1]):
        differing = difference(
            in_onnx.run(some, None, features=features), in_torch.run(some, None, features=features)
        )
        if not differing.passes:
            raise ModelError(
                f"{differing.labels} of {differing.images} labels differ between ONNX Runtime and PyTorch, "
                f"logits by up to {differing.logit:.1e} and features by up to {differing.feature:.1e} "
                f"(allowed: {TOLERANCE:g})"
            )


def prove_answers(
    engine: TorchEngine,
    card: ModelCard,
    graph: Path,
    name: ScoreName,
    *,
    neighbours: TrainingNeighbours | None = None,
) -> None:
    """Raise `ModelError` unless the graph gives the service's probabilities and score of images of odd sizes,
    and their distances from `neighbours`, within `TOLERANCE`."""
    content = graph.read_bytes() + constants(_TEMPERATURE, [-np.inf] * len(card.classes), neighbours)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = ["score", "probabilities"] + ["distance"] * (neighbours is not None)
    generator, window = np.random.default_rng(0), card.grey_window
    for size in _SIZES:
        image = generator.integers(0, 256, (*size, 3), np.uint8)
        picture = Image.fromarray(image)
        if window is not None:
            image = generator.integers(0, LEVELS, size, np.uint16)
            picture = Image.fromarray(to_8_bit(image, window)).convert("RGB")
        square = square_array(picture, card.image_size)[None]
        raw = engine.run(square, None, features=neighbours is not None)
        scored = score_of(name, raw.logits, raw.erm_logits, temperature=_TEMPERATURE)
        expected = np.exp([*scored.scores, *scored.log_probabilities[0]])
        if neighbours is not None:
            assert raw.features is not None
            expected = np.append(expected, neighbours.distances(raw.features))
        off = np.abs(np.hstack(session.run(names, {"image": image})) - expected).max()
        if not off <= TOLERANCE:  # nor NaN
            raise ModelError(
                f"the answers to an image of {picture.width} × {picture.height} pixels differ between ONNX "
                f"Runtime and PyTorch by up to {off:.1e} (allowed: {TOLERANCE:g})"
            )


def _some_neighbours(network: Network) -> TrainingNeighbours:
    """Vectors at random, to prove a graph with. Raises `HeadError` for a network that has no distances."""
    width = linear_layer(network).in_features
    vectors = np.random.default_rng(0).normal(0.5, 1, (2 * NEIGHBOURS, width))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return TrainingNeighbours(unit.astype(np.float16).astype(np.float32), np.inf)


def _images(side: int) -> NDArray[np.uint8]:
    """Random colours in grids of 1×1 to 128×128 fields, two images (3, side, side) of each."""
    generator = torch.Generator().manual_seed(0)
    grids = [torch.rand((2, 3, 2**n, 2**n), generator=generator) for n in range(8)]
    return (torch.cat([interpolate(grid, side) for grid in grids]) * 255).byte().numpy()


if __name__ == "__main__":
    main(*sys.argv[1:])
