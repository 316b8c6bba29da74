"""ONNX graphs of networks of known weights, each exported once in a run of the tests."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import nn

from app.inference.engines.export_process import export
from app.inference.engines.graph_store import FILE, Exports, Graph
from app.inference.types import StoredNetwork
from core.storage.artifacts import Artifacts
from models.backbones.build import build_network
from models.backbones.network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneSpec,
    Built,
    Chain,
    Network,
    Split,
)
from models.data.grey import GreyWindow
from models.export import card_of, save_backbone, save_model
from models.onnx_export import export_onnx
from tests.support.once import once

SIDE = 28
CLASSES = ("left", "right")
WINDOW = GreyWindow(20, 4020)
GREY_CLASSES = ("Käfer", "ant")
"""Those and the window of a network for 16-bit grey images."""


def network_of(seed: int) -> Network:
    """A small network, without training."""
    return build_network("small_cnn", classes=len(CLASSES), image_size=SIDE, seed=seed)


def pooling_network(*, linear: bool) -> Network:
    """A network that normalises, with a head that pools and has one layer, linear or convolutional."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)]
        if not linear:
            last = [nn.Conv2d(8, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        model = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), *last)
    split = Split(Chain("0", "1"), Chain("2", "3", "4"))
    built = Built(model, split, IMAGENET_MEAN, IMAGENET_STD)
    return Network(built, BackboneSpec("pooling", 2, SIDE, IMAGENET_MEAN, IMAGENET_STD)).eval()


def saved(artifacts: Artifacts, name: str, *, seed: int, backbone: str | None = None) -> StoredNetwork:
    """The network of this seed, with its backbone apart if that has an artifact."""
    network, stored = network_of(seed), StoredNetwork(name, f"models/{name}", backbone)
    with artifacts.writing(stored.artifact) as folder:
        save_model(network, card_of(network, CLASSES, "erm"), folder, with_backbone=backbone is None)
    if backbone is not None:
        with artifacts.writing(backbone) as folder:
            save_backbone(network, folder)
    return stored


def downloaded(factory: pytest.TempPathFactory) -> Path:
    """The graph of `product` answers of the network of seed 1, with that of seed 0 as ERM, which tells unlike
    images: as a service exports it for a download, in a process of its own."""

    def make(folder: Path) -> str:
        artifacts = Artifacts(f"file://{folder}/artifacts", cache=folder / "cache")
        model = saved(artifacts, "mdl_a", seed=1, backbone="backbones/mdl_a")
        graph = Graph((model, saved(artifacts, "mdl_e", seed=0)), "product", tells_unlike=True)
        with closing(Exports(artifacts)) as exports:
            return str(asyncio.run(exports.file(graph)))

    return Path(once(factory, "downloaded-graph", make))


def exported(factory: pytest.TempPathFactory) -> Path:
    """The graph from images to logits of the network of seed 1."""

    def make(folder: Path) -> str:
        export_onnx(network_of(1), folder / FILE, card_of(network_of(1), CLASSES, "erm"))
        return str(folder / FILE)

    return Path(once(factory, "exported-graph", make))


def grey_answers(factory: pytest.TempPathFactory) -> Path:
    """The graph of `max_softmax` answers to 16-bit images of the network of seed 1; none is unlike."""

    def make(folder: Path) -> str:
        network = network_of(1)
        save_model(network, card_of(network, GREY_CLASSES, "erm", grey_window=WINDOW), folder / "model")
        export(str(folder / FILE), [[str(folder / "model")]], "max_softmax", tells_unlike=False)
        return str(folder / FILE)

    return Path(once(factory, "grey-graph", make))


def store(artifacts: Artifacts, key: str, content: bytes) -> None:
    """Store a graph as if it was exported."""
    with artifacts.writing(key) as folder:
        (folder / FILE).write_bytes(content)
