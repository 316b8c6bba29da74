"""ONNX Runtime says what torch says, for batches of any size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from app.inference.engines.export_process import prove
from models.backbones.build import build_network
from models.export import card_of
from models.mitigation.features import inputs_of, linear_layer
from models.onnx_export import export_onnx, onnx_metadata
from tests.support.graphs import (
    CLASSES,
    GREY_CLASSES,
    WINDOW,
    exported,
    network_of,
    pooling_network,
)


@pytest.mark.library
@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "timm/vit_tiny_patch16_224",
        "timm/vit_tiny_patch16_dinov3_qkvb",  # rotary embeddings
        "timm/vit_base_patch32_siglip_256",  # pools by attention
    ],
)
def test_onnx_runtime_agrees(name: str, tmp_path: Path) -> None:
    network = build_network(name, classes=3, image_size=64)
    export_onnx(network, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        images = torch.rand(batch, 3, 64, 64)
        with torch.no_grad(), inputs_of(linear_layer(network)) as received:
            activation = network.features(images)
            logits = network.head(activation)
        found_logits, found_activation, found_features = session.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(found_logits, logits.numpy(), atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(found_activation, activation.numpy(), atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(found_features, received.inputs[0].numpy(), atol=1e-4, rtol=1e-4)


def test_a_network_without_a_linear_last_layer_has_no_features(tmp_path: Path) -> None:
    network = pooling_network(linear=False)
    export_onnx(network, tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits", "activation"]
    assert session.get_modelmeta().custom_metadata_map == {}
    prove(network, tmp_path / "model.onnx")


def test_the_metadata_say_how_an_image_becomes_the_input(tmp_path_factory: pytest.TempPathFactory) -> None:
    network = network_of(1)
    session = onnxruntime.InferenceSession(exported(tmp_path_factory), providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    assert texts == onnx_metadata(card_of(network, CLASSES, "erm"))
    texts = onnx_metadata(card_of(network, GREY_CLASSES, "erm", grey_window=WINDOW))
    facts = {name.removeprefix("masktune."): json.loads(text) for name, text in texts.items()}
    assert facts["version"] == 1
    assert facts["classes"] == [*GREY_CLASSES]
    assert (facts["input"]["layout"], facts["input"]["range"]) == ("NCHW", [0, 1])
    assert (facts["resize"]["size"], facts["resize"]["antialias"]) == ([28, 28], True)
    assert facts["normalisation"] == {"mean": [0, 0, 0], "std": [1, 1, 1], "inside_the_graph": True}
    assert facts["grey_window"] == [20, 4020]
