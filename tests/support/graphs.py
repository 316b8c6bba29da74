"""ONNX graphs of networks of known weights, each exported and proven once in a run of the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from app.inference.engines import graph_store
from app.inference.engines.export_process import export
from core.storage.artifacts import Artifacts
from masktune.contract.hyperparameters import ScoreName
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
from models.export import card_of, save_model
from tests.support.once import once

SIDE = 28
WINDOW = GreyWindow(20, 4020)
"""Of the networks for 16-bit grey images."""


def network_of(seed: int, classes: Sequence[str] = ("left", "right")) -> Network:
    """A small network, without training."""
    return build_network("small_cnn", classes=len(classes), image_size=SIDE, seed=seed).eval()


def pooling_network(*, linear: bool, seed: int) -> Network:
    """A network that normalises, with a head that pools and has one layer, linear or convolutional."""
    last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)]
    if not linear:
        last = [nn.Conv2d(8, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), *last)
    split = Split(Chain("0", "1"), Chain("2", "3", "4"))
    built = Built(model, split, IMAGENET_MEAN, IMAGENET_STD)
    return Network(built, BackboneSpec("pooling", 2, 33, IMAGENET_MEAN, IMAGENET_STD)).eval()


def exported(
    factory: pytest.TempPathFactory,
    *seeds: int,
    score: ScoreName | None = None,
    tells_unlike: bool = False,
    classes: Sequence[str] = ("left", "right"),
    window: GreyWindow | None = None,
) -> Path:
    """The graph of the first of these networks or, with a score, of the answers of both."""
    name = f"graph-{seeds}-{score}-{tells_unlike}-{'-'.join(classes)}-{window}"

    def make(folder: Path) -> str:
        networks = []
        for seed in seeds:
            network, path = network_of(seed, classes), folder / str(seed)
            save_model(network, card_of(network, tuple(classes), "erm", grey_window=window), path)
            networks.append([str(path)])
        export(str(folder / graph_store.FILE), networks, score, tells_unlike=tells_unlike)
        return str(folder / graph_store.FILE)

    return Path(once(factory, name, make))


def store(artifacts: Artifacts, key: str, content: bytes) -> None:
    """Store a graph as if it was exported."""
    with artifacts.writing(key) as folder:
        (folder / graph_store.FILE).write_bytes(content)
