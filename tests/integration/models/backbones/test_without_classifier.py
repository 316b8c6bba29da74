"""Published weights without a classifier: the features are timm's own, and the last layer is fresh."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from models.backbones.add_weights import add_weights
from models.backbones.build import build_network
from models.backbones.errors import BackboneError, UnknownBackbone, UnsupportedBackbone, WeightsUnavailable
from models.backbones.network import Network
from models.mitigation.features import inputs_of
from models.mitigation.stages import early_stages
from models.saliency import saliency

DINO2, FCMAE = "vit_small_patch14_dinov2", "convnextv2_atto.fcmae"
DINO3 = "vit_tiny_patch16_dinov3_qkvb"
SIGLIP = "vit_base_patch32_siglip_256"
SIDES = {
    DINO2: 56,
    DINO3: 64,
    FCMAE: 64,
    "eva02_tiny_patch14_224.mim_in22k": 56,
    "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m": 64,
}
STAGES = {DINO2: "blocks.", DINO3: "blocks.", FCMAE: "stages."}
FAMILIES = [*SIDES, pytest.param(SIGLIP, marks=pytest.mark.library)]  # it pools by attention


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Torch hub's folder of weights; the internet is out of reach."""
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setattr(torch.hub, "_hub_dir", str(folder))
        yield folder / "checkpoints"


@functools.cache
def published(name: str) -> dict[str, Tensor]:
    """Random weights of timm's network as it is published."""
    torch.manual_seed(5)
    model: nn.Module = timm.create_model(name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # some blocks begin at a share of 1e-5, which would hide an error in them
                parameter.uniform_(0.5, 1.5)
    return {key: tensor.contiguous() for key, tensor in model.state_dict().items()}


def write(state: dict[str, Tensor], file: Path) -> Path:
    safetensors.torch.save_file(state, file)
    return file


class Pair(NamedTuple):
    """timm's network with weights from a file, and ours from the same."""

    theirs: Any
    ours: Network


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """`pair(name)`: made once for all tests."""
    return functools.cache(lambda name: make_pair(name, tmp_path_factory.mktemp("pair")))


def make_pair(name: str, folder: Path) -> Pair:
    side = SIDES.get(name, 64)
    added = add_weights(f"timm/{name}", write(published(name), folder / "model.safetensors")).file
    options: dict[str, Any] = {"pretrained_cfg_overlay": {"file": str(added)}}
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options["img_size"] = side
    theirs = timm.create_model(name, pretrained=True, **options)
    return Pair(theirs.eval(), build_network(f"timm/{name}", classes=3, image_size=side, pretrained=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_last_layer_receives_timms_features(name: str, pair: Callable[[str], Pair]) -> None:
    theirs, ours = pair(name)
    images = torch.rand(2, 3, ours.spec.image_size, ours.spec.image_size)
    with inputs_of(ours.classifier) as received, torch.no_grad():
        logits = ours(images)
        tokens = theirs.forward_features((images - ours.mean) / ours.std)
        features = theirs.forward_head(tokens, pre_logits=True)
        torch.testing.assert_close(torch.cat(received.inputs), features, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits, ours.classifier(features), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(features[0], features[1], rtol=1e-3)
    assert logits.shape == (2, 3)


@pytest.mark.parametrize("name", STAGES)
def test_its_early_stages_and_maps_are_those_of_its_kind(name: str, pair: Callable[[str], Pair]) -> None:
    ours = pair(name).ours
    numbers = (1, 3, 5) if STAGES[name] == "blocks." else (0, 1, 2)
    assert [stage.name for stage in early_stages(ours)] == [f"{STAGES[name]}{number}" for number in numbers]
    maps = saliency(ours, torch.rand(2, 3, ours.spec.image_size, ours.spec.image_size)).maps
    assert maps.shape == (2, *ours.activation_shape[1:])
    assert maps.isfinite().all()
    assert maps.amax() > 0


def test_the_fresh_layer_is_drawn_from_the_seed(pair: Callable[[str], Pair]) -> None:
    pair(FCMAE)
    weights = [
        build_network(FCMAE, classes=3, image_size=64, pretrained=True, seed=seed).classifier.weight
        for seed in (1, 1, 2)
    ]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


@pytest.mark.parametrize(
    ("name", "key", "tensor"),
    [
        (FCMAE, "stages.0.blocks.0.conv_dw.weight", None),
        (FCMAE, "stages.0.blocks.0.conv_dw.weight", torch.zeros(2, 2)),
        (FCMAE, "stages.0.blocks.0.conv_dw.weight", torch.full((40, 1, 7, 7), torch.nan)),
        (DINO3, "blocks.0.norm1.weight", None),
        (DINO3, "head.weight", torch.zeros(1000, 192)),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    name: str, key: str, tensor: Tensor | None, tmp_path: Path
) -> None:
    state = dict(published(name))
    state.pop(key, None)
    if tensor is not None:
        state[key] = tensor
    with pytest.raises(WeightsUnavailable, match=rf"do not fit {name}: .*{key}"):
        add_weights(name, write(state, tmp_path / "model.safetensors"))


def test_timm_publishes_some_without_their_last_normalisation(tmp_path: Path) -> None:
    state = published(FCMAE)
    lacking = {key: tensor for key, tensor in state.items() if not key.startswith("head.norm.")}
    assert len(lacking) == len(state) - 2
    add_weights(FCMAE, write(lacking, tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("qwen3_vit_88m_enc", UnsupportedBackbone, "part of larger networks, not a classifier"),
        ("vit_small_patch14_dinov2.lvd142", UnknownBackbone, "near matches: vit_small_patch14_dinov2"),
        ("timm/vit_small_patch14_dinov2.", UnknownBackbone, "near matches: vit_small_patch14_dinov2"),
    ],
)
def test_what_is_no_classifier_or_unknown_is_refused(
    name: str, error: type[BackboneError], match: str, tmp_path: Path
) -> None:
    with torch.device("meta"), pytest.raises(error, match=match):  # large ones are built to be looked at
        add_weights(name, tmp_path / "model.safetensors")


def test_the_name_of_a_repository_is_the_name_of_its_network() -> None:
    named = build_network("timm/vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m", classes=2, image_size=64)
    plain = build_network(DINO3, classes=2, image_size=64)
    assert all(map(torch.equal, named.model.state_dict().values(), plain.model.state_dict().values()))
