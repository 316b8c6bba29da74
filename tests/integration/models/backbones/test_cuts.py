"""timm networks cut before their end: nothing is lost, places stay where they are, maps can be taken."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.backbones.build import adopt_weights, build_network
from models.backbones.errors import UnsupportedBackbone
from models.backbones.network import Network
from models.saliency import saliency

CUT = {
    "timm/vit_tiny_patch16_224": 64,
    "timm/deit_tiny_distilled_patch16_224": 64,  # two class tokens, two heads
    "timm/eva02_tiny_patch14_224": 56,  # rotary embeddings
    "timm/vit_small_patch16_lingbot": 64,  # an Eva with four prefix tokens
}
REFUSED = {
    "timm/cait_xxs24_224": 64,
    "timm/coat_lite_tiny": 64,
    "timm/crossvit_9_240": 120,
    "timm/efficientvim_m1": 192,
    "timm/mvitv2_small_cls": 64,
    "timm/pit_ti_224": 96,
    "timm/tnt_s_patch16_224": 64,
    "timm/volo_d1_224": 64,
}


@functools.cache
def network_of(name: str) -> Network:
    network = build_network(name, classes=3, image_size=CUT[name])
    generator = torch.Generator().manual_seed(3)
    for layer in network.classifiers:  # an initial std of 0.02 would hide an error in the head
        torch.nn.init.normal_(layer.weight, std=0.1, generator=generator)
    for key, parameter in network.named_parameters():
        if "gamma" in key:  # some blocks begin at a share of 1e-5
            torch.nn.init.ones_(parameter)
    return network.requires_grad_(False)


def images_for(network: Network) -> Tensor:
    coarse = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return interpolate(coarse, size=network.spec.image_size)


@pytest.mark.parametrize("name", CUT)
def test_split_equals_the_librarys_forward(name: str) -> None:
    network = network_of(name)
    images = images_for(network)
    with torch.no_grad():
        whole = network.model((images - network.mean) / network.std)
        activation = network.features(images)
        torch.testing.assert_close(network.head(activation), whole, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(network(images), whole, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(whole[0], whole[1], atol=1e-4)
    assert activation.shape == (2, *network.activation_shape)


@pytest.mark.parametrize("name", CUT)
def test_a_change_in_a_corner_of_the_image_is_seen_in_that_corner_of_the_activation(name: str) -> None:
    network = network_of(name)
    image = images_for(network)[:1]
    third = image.shape[-1] // 3
    bright = image.clone()
    bright[:, :, :third, -third:] = 1.0  # upper right: a transposed grid would show it at the lower left
    with torch.no_grad():
        change = network.features(bright) - network.features(image)
    strength = change[0, : network.spatial_channels].abs().mean(0)  # (h, w)
    row, column = divmod(int(strength.argmax()), strength.shape[1])
    assert row < (strength.shape[0] + 1) // 2
    assert column >= strength.shape[1] // 2
    assert strength[0, -1] > strength[-1, 0]


@pytest.mark.parametrize("name", CUT)
def test_maps_are_gradcams_of_the_places_alone(name: str) -> None:
    network = network_of(name)
    images = images_for(network)
    found = saliency(network, images, method="gradcam")
    activation = network.features(images).requires_grad_()
    (gradient,) = torch.autograd.grad(network.head(activation).amax(1).sum(), activation)
    places = network.spatial_channels
    assert gradient[:, places:].abs().sum() == 0
    weights = gradient[:, :places].mean((2, 3), keepdim=True)
    expected = (weights * activation.detach()[:, :places]).sum(1).clamp_min(0)
    assert expected.max() > 0
    torch.testing.assert_close(found.maps, expected, rtol=0.01, atol=float(expected.max()) * 1e-3)
    alone = saliency(network, images[1:], method="gradcam").maps
    torch.testing.assert_close(found.maps[1:], alone, rtol=0.01, atol=float(alone.max()) * 1e-3)


ONE_FOR_EACH_REASON = ("timm/efficientvim_m1", "timm/pit_ti_224", "timm/tnt_s_patch16_224")


@pytest.mark.parametrize(
    "name",
    [
        name if name in ONE_FOR_EACH_REASON else pytest.param(name, marks=pytest.mark.library)
        for name in REFUSED
    ],
)
def test_networks_without_a_usable_last_activation_are_refused_with_the_reason(name: str) -> None:
    reason = "not depend on positions|several activations at once|not a square grid"
    with pytest.raises(UnsupportedBackbone, match=f"{name.removeprefix('timm/')}.*({reason})"):
        build_network(name, classes=3, image_size=REFUSED[name])


def test_both_heads_of_a_distilled_network_are_fitted_to_the_classes() -> None:
    source = network_of("timm/deit_tiny_distilled_patch16_224")
    fitted = build_network(source.spec.name, classes=5, image_size=64)
    assert [layer.weight.shape[0] for layer in fitted.classifiers] == [5, 5]
    own = [layer.weight.clone() for layer in fitted.classifiers]
    adopt_weights(fitted, source)
    assert all(torch.equal(w, layer.weight) for w, layer in zip(own, fitted.classifiers, strict=True))
    with torch.no_grad():
        images = images_for(source)
        torch.testing.assert_close(fitted.features(images), source.features(images))
        assert fitted(images).shape == (2, 5)
