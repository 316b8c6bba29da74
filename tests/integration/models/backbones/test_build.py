"""The split is the network: head ∘ features equals the library's own forward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.backbones.build import adopt_weights, available_backbones, build_network, weight_shapes
from models.backbones.errors import UnknownBackbone, UnsupportedBackbone, WeightsUnavailable
from models.backbones.weights import shapes_of
from models.training.checkpoints import weights_digest

HANDFUL = [
    ("small_cnn", 28),
    ("resnet32", 32),
    ("mobilenet_v3_small", 64),  # a pooled head of two layers
    ("timm/test_vit", 64),  # class token: cut before the last block
    ("timm/test_convnext", 64),
]


@pytest.mark.parametrize(("name", "side"), HANDFUL)
def test_split_equals_the_librarys_forward(name: str, side: int) -> None:
    network = build_network(name, classes=3, image_size=side)
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        activation = network.features(images)
        whole = network.model((images - network.mean) / network.std)
        torch.testing.assert_close(network.head(activation), whole, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(network(images), whole, rtol=1e-5, atol=1e-6)
    assert activation.shape == (2, *network.activation_shape)
    assert whole.shape == (2, 3)


@pytest.mark.parametrize(("name", "side"), HANDFUL)
def test_shapes_are_known_before_a_network_is_built(name: str, side: int) -> None:
    expected = weight_shapes(name, classes=3, image_size=side)
    network = build_network(name, classes=3, image_size=side)
    assert expected == shapes_of(network.model.state_dict())
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def test_small_cnn_is_the_papers() -> None:
    network = build_network("small_cnn", classes=2, image_size=28)
    assert network.activation_shape == (32, 8, 8)
    assert network.model.get_submodule("hidden.0").in_features == 512
    assert network.linear is None
    assert network.spec.mean == (0, 0, 0)


def test_resnet32_has_the_papers_size() -> None:
    network = build_network("resnet32", classes=10, image_size=32)
    assert sum(p.numel() for p in network.parameters()) == 464_154
    assert network.activation_shape == (64, 8, 8)


def test_linear_is_the_whole_head_where_it_says_so() -> None:
    network = build_network("resnet32", classes=4, image_size=16)
    activation = torch.randn(3, *network.activation_shape)
    assert network.linear is not None
    torch.testing.assert_close(network.linear(activation.mean((2, 3))), network.head(activation))


def test_class_tokens_take_no_gradient_in_the_head_but_do_in_training() -> None:
    network = build_network("timm/test_vit", classes=2, image_size=64)
    activation = network.features(torch.rand(1, 3, 64, 64)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.head(activation)[0, 0], activation)
    spatial = network.spatial_channels
    assert spatial < activation.shape[1]
    assert gradient[:, :spatial].abs().max() > 0
    assert gradient[:, spatial:].abs().max() == 0
    network(torch.rand(1, 3, 64, 64))[0, 0].backward()
    token = network.model.get_parameter("cls_token").grad
    assert token is not None
    assert token.abs().max() > 0


def test_weights_depend_on_the_seed_alone_and_leave_torchs_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = weights_digest(build_network("small_cnn", classes=2, image_size=16, seed=1))
    torch.manual_seed(6)
    assert weights_digest(build_network("small_cnn", classes=2, image_size=16, seed=1)) == one
    assert weights_digest(build_network("small_cnn", classes=2, image_size=16, seed=2)) != one
    torch.manual_seed(5)
    build_network("small_cnn", classes=2, image_size=16)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_names_come_with_near_ones() -> None:
    with pytest.raises(UnknownBackbone, match="resnet18"):
        build_network("resnet81", classes=2, image_size=64)
    with pytest.raises(UnknownBackbone):
        build_network("keras/resnet18", classes=2, image_size=64)


def test_available_names_are_unique_and_say_which_library_where_both_have_one() -> None:
    names = available_backbones()
    assert len(names) == len(set(names))
    assert {"small_cnn", "resnet32", "resnet18", "timm/resnet18", "tf_efficientnet_lite0"} <= set(names)


def test_an_image_that_is_seen_as_one_position_is_refused() -> None:
    with pytest.raises(UnsupportedBackbone, match="larger image_size"):
        build_network("resnet18", classes=2, image_size=28)
    with pytest.raises(UnsupportedBackbone, match="at least 16"):
        build_network("small_cnn", classes=2, image_size=12)


def test_published_weights_out_of_reach_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens on the discard port
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsUnavailable, match="name a model of this backbone"):
        build_network("squeezenet1_1", classes=2, image_size=64, pretrained=True)
    with pytest.raises(WeightsUnavailable, match="no published weights"):
        build_network("small_cnn", classes=2, image_size=28, pretrained=True)


def test_adopting_weights_keeps_only_a_last_layer_of_another_size() -> None:
    source = build_network("resnet32", classes=5, image_size=16, seed=1)
    target = build_network("resnet32", classes=2, image_size=16, seed=2)
    own = target.classifier.weight.clone()
    adopt_weights(target, source)
    assert torch.equal(target.classifier.weight, own)
    assert torch.equal(target.model.get_parameter("conv1.weight"), source.model.get_parameter("conv1.weight"))
    with pytest.raises(WeightsUnavailable, match="small_cnn"):
        adopt_weights(target, build_network("small_cnn", classes=2, image_size=16))
