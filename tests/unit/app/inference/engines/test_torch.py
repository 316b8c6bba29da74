"""The torch engine on a card that is full, or that answers no more; what a process that serves rounds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from app.inference import Explain, Pair, StoredNetwork
from app.inference.engines.torch import TorchEngine, load, probe
from core.errors import Unavailable
from core.storage.artifacts import Artifacts
from models.backbones.build import build_network
from models.backbones.network import Network
from models.export import card_of, save_model

IMAGES = np.zeros((2, 3, 28, 28), np.uint8)


class _Full(torch.nn.Module):
    """Wants more than a card has."""

    def forward(self, images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.fixture
def network() -> Network:
    return build_network("small_cnn", classes=2, image_size=28)


@pytest.fixture
def pair(artifacts: Artifacts, network: Network) -> Pair:
    stored = StoredNetwork("mdl_a", "models/mdl_a")
    with artifacts.writing(stored.artifact) as folder:
        save_model(network, card_of(network, ("a", "b"), "erm"), folder)
    return Pair(stored, None)


@pytest.mark.parametrize("explain", [None, Explain("xgradcam")])
def test_a_card_without_room_is_to_be_asked_again(network: Network, explain: Explain | None) -> None:
    engine = TorchEngine(network, None, torch.device("cpu"))
    network.model.block1 = _Full()
    with pytest.raises(Unavailable, match="no memory left") as refused:
        engine.run(IMAGES, explain)
    assert refused.value.headers["Retry-After"] == "5"


def test_a_map_without_room_is_to_be_asked_again(network: Network) -> None:
    engine = TorchEngine(network, None, torch.device("cpu"))
    network.model.hidden = _Full()
    with pytest.raises(Unavailable, match="no memory left"):
        engine.explain(np.ones((2, 32, 8, 8), np.float32), np.zeros((2, 2), np.float32), Explain("xgradcam"))


def test_a_load_without_room_is_to_be_asked_again(
    pair: Pair, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(Unavailable, match="no memory left") as refused:
        load(pair, artifacts, device="cpu", threads=1)
    assert refused.value.headers["Retry-After"] == "5"


@pytest.fixture
def tf32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("tf32")
def test_what_is_served_is_not_rounded_to_tf32(pair: Pair, artifacts: Artifacts) -> None:
    load(pair, artifacts, device="cpu", threads=torch.get_num_threads())
    assert not torch.backends.cudnn.allow_tf32


def test_a_card_that_is_not_there_is_told(pair: Pair, artifacts: Artifacts) -> None:
    with pytest.raises(Unavailable, match="MASKTUNE_DEVICE is cuda:63, but PyTorch sees no such card"):
        probe("cuda:63")
    with pytest.raises(Unavailable, match="MASKTUNE_DEVICE is cuda:63"):
        load(pair, artifacts, device="cuda:63", threads=torch.get_num_threads())
