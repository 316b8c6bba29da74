"""ONNX Runtime says what torch says, for batches of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from models.backbones import build_network
from models.export import export_onnx


@pytest.mark.parametrize(
    ("name", "side"), [("small_cnn", 28), ("resnet18", 64), ("timm/vit_tiny_patch16_224", 64)]
)
def test_onnx_runtime_agrees(name: str, side: int, tmp_path: Path) -> None:
    network = build_network(name, classes=3, image_size=side)
    export_onnx(network, tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        images = torch.rand(batch, 3, side, side)
        with torch.no_grad():
            activation = network.features(images)
            logits = network.head(activation)
        found_logits, found_activation = session.run(["logits", "activation"], {"images": images.numpy()})
        np.testing.assert_allclose(found_logits, logits.numpy(), atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(found_activation, activation.numpy(), atol=1e-4, rtol=1e-4)
