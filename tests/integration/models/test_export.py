"""A saved model comes back equal, and nothing else is taken for one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.grey import GreyWindow
from models.export import (
    ModelCard,
    ModelError,
    card_of,
    import_safetensors,
    load_model,
    read_card,
    save_backbone,
    save_model,
    shareable_digest,
)
from models.training.checkpoints import weights_digest

CLASSES = ("cat", "dog")


@pytest.fixture
def network() -> Network:
    return build_network("resnet32", classes=2, image_size=16, seed=4)


def test_a_model_comes_back_equal(network: Network, tmp_path: Path) -> None:
    card = card_of(network, CLASSES, "masktune", {"epochs": 3})
    save_model(network, card, tmp_path / "m")
    save_model(network, card, tmp_path / "m")  # again: replaced
    loaded, read = load_model(tmp_path / "m")
    assert read == card == read_card(tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["model.json", "model.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))
    assert not loaded.training


def test_a_model_and_its_backbone_are_saved_apart_and_hold_no_tensor_twice(
    network: Network, tmp_path: Path
) -> None:
    save_model(network, card_of(network, CLASSES, "erm"), tmp_path / "m", with_backbone=False)
    save_backbone(network, tmp_path / "b")
    loaded, _ = load_model(tmp_path / "m", backbone=tmp_path / "b")
    assert weights_digest(loaded.model) == weights_digest(network.model)
    own, below = load_file(tmp_path / "m/model.safetensors"), load_file(tmp_path / "b/backbone.safetensors")
    assert {*own} == {f"{network.classifier_names[-1]}.{name}" for name in ("weight", "bias")}
    assert own.keys() | below.keys() == network.model.state_dict().keys()
    assert not own.keys() & below.keys()
    save_backbone(build_network("resnet32", classes=2, image_size=16, seed=5), tmp_path / "b")
    with pytest.raises(ModelError, match="not those that the card describes"):
        load_model(tmp_path / "m", backbone=tmp_path / "b")


def test_backbones_are_shared_by_their_weights_and_not_if_they_are_small(network: Network) -> None:
    digest = shareable_digest(network)
    with torch.no_grad():
        network.classifier.weight.add_(1)
        assert shareable_digest(network) == digest is not None
        next(network.model.buffers()).add_(1)  # a statistic of batch normalisation
    assert shareable_digest(network) not in (digest, None)
    assert shareable_digest(build_network("small_cnn", classes=2, image_size=28)) is None


def test_the_window_of_16_bit_images_goes_with_the_weights(network: Network, tmp_path: Path) -> None:
    window = GreyWindow(12, 4012)
    save_model(network, card_of(network, CLASSES, "erm", grey_window=window), tmp_path / "m")
    assert load_model(tmp_path / "m")[1].grey_window == window
    _, card = import_safetensors(
        tmp_path / "m" / "model.safetensors", backbone="resnet32", classes=CLASSES, image_size=16
    )
    assert card.grey_window == window


@pytest.mark.parametrize(
    "metadata", [{"grey_window_low": "5"}, {"grey_window_low": "9", "grey_window_high": "2"}]
)
def test_a_window_that_cannot_be_read_is_refused(
    network: Network, tmp_path: Path, metadata: dict[str, str]
) -> None:
    file = tmp_path / "model.safetensors"
    tensors = {name: tensor.contiguous() for name, tensor in network.model.state_dict().items()}
    save_file(tensors, file, metadata=metadata)
    with pytest.raises(ModelError, match="window"):
        import_safetensors(file, backbone="resnet32", classes=CLASSES, image_size=16)


def test_a_model_is_written_into_its_folder_and_nowhere_else(network: Network, tmp_path: Path) -> None:
    """Who publishes the folder clears away what a write that broke off left in it, and knows of no other."""
    card = card_of(network, CLASSES, "erm", {"epochs": object()})
    with pytest.raises(TypeError):
        save_model(network, card, tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert [p.name for p in (tmp_path / "m").iterdir()] == ["model.safetensors"]


def test_the_file_has_the_librarys_own_names(tmp_path: Path) -> None:
    import timm  # loads torchvision and torch's compiler

    network = build_network("timm/test_resnet", classes=2, image_size=64)
    save_model(network, card_of(network, CLASSES, "erm"), tmp_path / "m")
    model = timm.create_model("test_resnet", num_classes=2)
    model.load_state_dict(load_file(tmp_path / "m" / "model.safetensors"), strict=True)


def test_an_import_takes_safetensors_of_the_backbone_only(network: Network, tmp_path: Path) -> None:
    state = {name: t.contiguous() for name, t in network.model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    file = tmp_path / "w.safetensors"
    loaded, card = import_safetensors(file, backbone="resnet32", classes=CLASSES, image_size=16)
    assert (card.arm, card.digest) == ("imported", weights_digest(network.model))
    assert weights_digest(loaded.model) == card.digest
    with pytest.raises(ModelError, match="does not fit"):
        import_safetensors(file, backbone="small_cnn", classes=CLASSES, image_size=16)
    with pytest.raises(ModelError, match="does not fit"):
        import_safetensors(file, backbone="resnet32", classes=("a", "b", "c"), image_size=16)
    with pytest.raises(ValueError, match="no backbone"):
        import_safetensors(file, backbone="resnet33", classes=CLASSES, image_size=16)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="nothing else is loaded"):
        import_safetensors(tmp_path / "w.pt", backbone="resnet32", classes=CLASSES, image_size=16)
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(ModelError, match="cannot be read as a file"):
        import_safetensors(tmp_path / "bad.safetensors", backbone="resnet32", classes=CLASSES, image_size=16)


@pytest.mark.parametrize(
    ("name", "dimensions"), [("block1.0.weight", 100_000), ("a" * 100_000, 1)], ids=["dimensions", "name"]
)
def test_a_refusal_is_short_however_long_the_header_is(tmp_path: Path, name: str, dimensions: int) -> None:
    """One of a tensor of seven million dimensions had 24 MB."""
    tensor = {"dtype": "F32", "shape": [1] * dimensions, "data_offsets": [0, 4]}
    header = json.dumps({name: tensor}).encode()
    file = tmp_path / "w.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ModelError, match="does not fit") as refusal:
        import_safetensors(file, backbone="small_cnn", classes=CLASSES, image_size=28)
    assert len(str(refusal.value)) < 2000


@pytest.fixture
def made() -> Iterator[list[int]]:
    """The elements of each parameter that memory is taken for."""
    sizes: list[int] = []

    def note(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        if not parameter.is_meta:
            sizes.append(parameter.numel())

    hook = register_module_parameter_registration_hook(note)
    yield sizes
    hook.remove()


def test_an_import_builds_its_network_once(network: Network, tmp_path: Path, made: list[int]) -> None:
    save_model(network, card_of(network, CLASSES, "erm"), tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    imported, _ = import_safetensors(file, backbone="resnet32", classes=CLASSES, image_size=16)
    assert sum(made) == sum(p.numel() for p in imported.model.parameters())


def test_weights_of_another_card_are_refused(network: Network, tmp_path: Path) -> None:
    save_model(network, card_of(network, CLASSES, "erm"), tmp_path / "m")
    other = build_network("resnet32", classes=2, image_size=16, seed=5)
    with pytest.raises(ModelError, match="other weights"):
        save_model(other, card_of(network, CLASSES, "erm"), tmp_path / "n")
    state = {name: t.contiguous() for name, t in other.model.state_dict().items()}
    save_file(state, tmp_path / "m" / "model.safetensors")
    with pytest.raises(ModelError, match="not those that the card describes"):
        load_model(tmp_path / "m")


def test_cards_are_read_strictly(network: Network, tmp_path: Path) -> None:
    card = card_of(network, CLASSES, "erm")
    value = json.loads(json.dumps(card.to_json()))
    assert ModelCard.from_json(value) == card
    cases: list[object] = [{**value, "version": 2}, {**value, "more": 1}, {**value, "mean": [1, 2]}, [], None]
    for broken in cases:
        with pytest.raises(ModelError):
            ModelCard.from_json(broken)
    with pytest.raises(ModelError, match="not a saved model"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="3 class names"):
        card_of(network, ("a", "b", "c"), "erm")
    save_model(network, card, tmp_path / "m")
    (tmp_path / "m" / "model.json").write_text(json.dumps(replace(card, std=(1.0, 1.0, 1.0)).to_json()))
    with pytest.raises(ModelError, match="normalises differently"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("backbone", ["vit_giant_patch14_224", "beit_large_patch16_512", "regnet_y_128gf"])
def test_a_small_file_of_a_large_network_is_refused_before_it_is_built(
    tmp_path: Path, made: list[int], backbone: str
) -> None:
    """A thousand bytes took up to 15 GB, twice, in the process that serves."""
    save_file({"cls_token": torch.zeros(1, 1, 8)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=f"does not fit {backbone}"):
        import_safetensors(tmp_path / "w.safetensors", backbone=backbone, classes=CLASSES, image_size=896)
    assert sum(made) == 0
