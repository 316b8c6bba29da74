"""Maps from the head alone, against the grad-cam package and against the definition of each rule."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.saliency import (
    METHODS,
    NotInEvaluation,
    UnknownMethod,
    is_light,
    saliency,
    saliency_of_activation,
    upsample,
)
from tests.integration.models.cam_library import LIBRARY, Whole, cam_class
from tests.support.cam_scale import to_library_scale

Head = Literal["linear", "smooth", "plain"]
HEADS: tuple[Head, ...] = ("linear", "smooth", "plain")
IMAGES = torch.rand(4, 3, 20, 20, generator=torch.Generator().manual_seed(7))
SIZE = (20, 20)


class Tiny(nn.Module):
    """features: 6 channels of 5×5 after a ReLU.

    Head: pooling and a linear layer; or max pooling and a smooth one; or that, of plain layers alone.
    """

    def __init__(self, head: Head, *, class_token: bool = False) -> None:
        super().__init__()
        self.spatial_channels = 6
        self.class_token = class_token
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, stride=4, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.last = nn.Linear(6, 5)
        between = (nn.Tanh(),) if head == "smooth" else (norm(8), nn.ReLU())
        self.smooth = nn.Sequential(
            nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(54, 8), *between, nn.Linear(8, 5)
        )
        self.last.weight.data *= 10  # so that the weights, not the bias, choose the class
        self.linear = self.last if head == "linear" else None
        self.head_layers = None if head == "linear" or class_token else list(self.smooth)
        self.seen_by_head = 0

    def features(self, images: Tensor) -> Tensor:
        activation: Tensor = self.body(images)
        token = activation.new_full((len(images), 6, 5, 5), 0.3)
        return torch.cat([activation, token], 1) if self.class_token else activation

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

    def head(self, activation: Tensor) -> Tensor:
        self.seen_by_head += len(activation)
        if self.class_token:
            extra = self.last(activation[:, 6:].detach().mean((2, 3)))
            return self.smooth(activation[:, :6]) + extra  # type: ignore[no-any-return]  # a module's call
        if self.linear is not None:
            return self.linear(activation.mean((2, 3)))  # type: ignore[no-any-return]  # a module's call
        return self.smooth(activation)  # type: ignore[no-any-return]  # a module's call


def norm(features: int) -> nn.BatchNorm1d:
    """With statistics and weights as a training leaves them."""
    layer = nn.BatchNorm1d(features)
    for tensor in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data):
        assert tensor is not None
        tensor.uniform_(0.1, 1)
    return layer


def tiny(head: Head, *, class_token: bool = False) -> Tiny:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return Tiny(head, class_token=class_token).eval()


def of_library(method: str, network: Tiny) -> NDArray[np.float32]:
    whole = Whole(network).eval()
    layers = [] if method == "fullgrad" else [whole.tap]
    with cam_class(method)(whole, layers) as cam:
        return np.asarray(cam(IMAGES.clone(), None), np.float32)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("method", LIBRARY)
def test_maps_are_those_of_the_library(method: str, head: Head) -> None:
    network = tiny(head)
    found = saliency(network, IMAGES, method=method)
    assert found.maps.dtype == torch.float32
    assert found.maps.max() > 0
    assert np.abs(to_library_scale(found.maps, SIZE).numpy() - of_library(method, network)).max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("head", HEADS)
def test_a_map_does_not_depend_on_who_shares_the_batch(method: str, head: Head) -> None:
    network = tiny(head)
    together = to_library_scale(saliency(network, IMAGES, method=method).maps, SIZE)
    alone = [to_library_scale(saliency(network, x[None], method=method).maps, SIZE) for x in IMAGES]
    assert torch.allclose(together, torch.cat(alone), atol=2e-6)


@pytest.mark.parametrize("head", HEADS)
def test_logits_are_the_networks_and_the_target_is_the_largest(head: Head) -> None:
    network = tiny(head)
    found = saliency(network, IMAGES)
    expected = network.head(network.features(IMAGES))
    assert torch.allclose(found.logits, expected, atol=1e-6)
    assert torch.equal(found.targets, expected.argmax(1))
    assert not found.logits.requires_grad
    assert not found.maps.requires_grad


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"fem", "randomcam"}))
def test_a_given_class_is_explained(method: str) -> None:
    network = tiny("smooth")
    targets = torch.tensor([4, 3, 2, 1])
    found = saliency(network, IMAGES, method=method, target=targets)
    assert torch.equal(found.targets, targets)
    one = saliency(network, IMAGES[2:3], method=method, target=targets[2:3])
    assert torch.allclose(found.maps[2], one.maps[0], atol=1e-6)
    assert not torch.allclose(found.maps, saliency(network, IMAGES, method=method).maps)


def test_the_backbone_keeps_no_graph_and_no_parameter_gets_a_gradient() -> None:
    for method in METHODS:
        network = tiny("smooth")
        saliency(network, IMAGES, method=method)
        assert all(parameter.grad is None for parameter in network.parameters()), method


def test_closed_forms_need_one_pass_of_a_linear_head() -> None:
    for method in ("xgradcam", "gradcam", "hirescam", "layercam", "gradcam++"):
        network = tiny("linear")
        saliency(network, IMAGES, method=method)
        assert network.seen_by_head == len(IMAGES), method


def test_a_head_of_plain_layers_is_seen_once_and_differentiated_without_autograd() -> None:
    for method in ("xgradcam", "gradcam", "hirescam", "layercam", "gradcam++"):
        network = tiny("plain")
        found = saliency(network, IMAGES, method=method)
        assert network.seen_by_head == 0, method  # its layers were called one by one
        network.head_layers = None
        expected = saliency(network, IMAGES, method=method)
        assert network.seen_by_head == len(IMAGES), method
        torch.testing.assert_close(found.maps, expected.maps)
        torch.testing.assert_close(found.logits, expected.logits)


def test_maps_are_light_where_they_cost_a_few_passes_over_the_activation() -> None:
    for head in ("linear", "plain"):
        assert {method for method in METHODS if not is_light(tiny(head), method)} == {"fullgrad"}
    assert not any(is_light(tiny("smooth"), method) for method in METHODS)


@pytest.mark.parametrize("method", ["xgradcam", "layercam"])
def test_memory_format_changes_nothing(method: str) -> None:
    network = tiny("linear")
    plain = saliency(network, IMAGES, method=method).maps
    last = saliency(network, IMAGES.to(memory_format=torch.channels_last), method=method).maps
    assert torch.allclose(plain, last, atol=1e-5)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"fullgrad"}))
def test_an_activation_of_inference_mode_will_do(method: str) -> None:
    network = tiny("smooth")
    with torch.inference_mode():
        found = saliency_of_activation(network, network.features(IMAGES), method=method)
    assert torch.allclose(found.maps, saliency(network, IMAGES, method=method).maps, atol=1e-6)


def test_fullgrad_needs_images() -> None:
    network = tiny("smooth")
    with pytest.raises(ValueError, match="give images"):
        saliency_of_activation(network, network.features(IMAGES).detach(), method="fullgrad")


@pytest.mark.parametrize("method", METHODS)
def test_a_class_token_has_no_place_in_the_map(method: str) -> None:
    network = tiny("smooth", class_token=True)
    found = saliency(network, IMAGES, method=method)
    assert torch.isfinite(found.maps).all()
    if method in ("xgradcam", "gradcam", "hirescam", "layercam", "fem"):
        plain = saliency(tiny("smooth"), IMAGES, method=method, target=found.targets)
        assert torch.allclose(found.maps, plain.maps, atol=1e-6)


def test_randomcam_is_decided_by_its_seed() -> None:
    network = tiny("linear")
    one, two, other = (saliency(network, IMAGES, method="randomcam", seed=s).maps for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("method", ["xgradcam", "hirescam"])
def test_one_broken_image_harms_no_other(method: str) -> None:
    network = tiny("linear")
    broken = IMAGES.clone()
    broken[1, 0, 3, 3] = torch.nan
    found = saliency(network, broken, method=method).maps
    assert torch.allclose(found[[0, 2, 3]], saliency(network, IMAGES, method=method).maps[[0, 2, 3]])
    assert not torch.isfinite(found[1]).all()


def test_an_unknown_method_is_told_the_known_ones() -> None:
    with pytest.raises(UnknownMethod, match="xgradcam"):
        saliency(tiny("linear"), IMAGES, method="gradcan")


def test_training_mode_is_refused() -> None:
    with pytest.raises(NotInEvaluation):
        saliency(tiny("linear").train(), IMAGES)


@pytest.mark.parametrize(
    ("low", "size"), [((7, 7), (224, 224)), ((4, 4), (28, 28)), ((3, 5), (17, 31)), ((8, 8), (8, 8))]
)
def test_upsampling_is_torchs_and_opencvs(low: tuple[int, int], size: tuple[int, int]) -> None:
    maps = torch.rand(3, *low, generator=torch.Generator().manual_seed(0))
    found = upsample(maps, size)
    reference = functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(found, reference, atol=1e-6)
    for ours, low_map in zip(found, maps, strict=True):
        assert np.allclose(ours, cv2.resize(low_map.numpy(), size[::-1]), atol=1e-6)
