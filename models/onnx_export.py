"""A trained network as an ONNX graph, with metadata that say how to use it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from models.backbones.network import Network
from models.export import ModelCard, ModelError

_VERSION = 1  # of the metadata


class _Exported(nn.Module):
    """Logits and activation from one forward pass."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        activation = self.network.features(images)
        return self.network.head(activation), activation


def export_onnx(network: Network, path: Path, card: ModelCard | None = None) -> None:
    """Write an ONNX graph: `images` (B, 3, H, W) in 0..1 → `logits` (B, K), `activation` (B, C, h, w); any B.

    With its `card`, the file has `onnx_metadata`. Weights are stored inside the file (up to 2 GB). The
    network must be on the CPU. Raises `ModelError` for a network that cannot be exported.
    """
    network.eval()
    side = network.spec.image_size
    partial = path.with_name(f".{path.name}.partial")
    try:
        program = torch.onnx.export(
            _Exported(network).eval(),
            (torch.rand(2, 3, side, side),),
            dynamo=True,
            input_names=["images"],
            output_names=["logits", "activation"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            verbose=False,
        )
        shape = None if program is None else program.model.graph.inputs[0].shape
        if program is None or shape is None or isinstance(shape[0], int):
            raise ModelError(f"{network.spec.name} cannot be exported for batches of any size")
        program.model.metadata_props.update({} if card is None else onnx_metadata(card))
        program.save(partial, external_data=False)
        partial.replace(path)
    except torch.onnx.OnnxExporterError as error:
        raise ModelError(f"{network.spec.name} cannot be exported to ONNX: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def onnx_metadata(card: ModelCard) -> dict[str, str]:
    """What a file says of its network, as JSON texts (docs/how-to/onnx.md). None of it ever changes."""
    side = card.image_size
    facts = {
        "version": _VERSION,
        "classes": card.classes,
        "input": {"name": "images", "type": "float32", "layout": "NCHW", "colours": "RGB", "range": [0, 1]},
        "resize": {
            "size": [side, side],
            "keep_aspect_ratio": False,
            "filter": "bilinear",
            "antialias": True,
            "weights": "int16",
            "order": ["width", "height"],
        },
        "normalisation": {"mean": card.mean, "std": card.std, "inside_the_graph": True},
        "grey_window": card.grey_window,
    }
    return {f"masktune.{name}": json.dumps(fact, ensure_ascii=False) for name, fact in facts.items()}
