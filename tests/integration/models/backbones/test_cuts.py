"""timm networks cut before their end: nothing is lost, places stay where they are, maps can be taken."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import interpolate

from models.backbones import Network, adopt_weights, build_network
from models.backbones.timm_scales import stack_scales, unstack_scales
from models.saliency import saliency

CUT = {
    "timm/cait_xxs24_224": 64,
    "timm/coat_lite_tiny": 96,
    "timm/coat_tiny": 64,  # three scales on one grid
    "timm/convit_tiny": 64,
    "timm/crossvit_9_240": 120,  # two branches, 10×10 and 7×7
    "timm/efficientvim_m1": 192,
    "timm/pit_ti_224": 96,
    "timm/pit_ti_distilled_224": 96,  # two class tokens, two heads
    "timm/tnt_s_patch16_224": 48,
    "timm/volo_d1_224": 64,
    "timm/xcit_nano_12_p8_224": 64,
}


@functools.cache
def network_of(name: str) -> Network:
    network = build_network(name, classes=3, image_size=CUT[name])
    generator = torch.Generator().manual_seed(3)
    for layer in network.classifiers:  # an initial std of 0.02 would hide an error in the head
        torch.nn.init.normal_(layer.weight, std=0.1, generator=generator)
    for key, parameter in network.named_parameters():
        if "gamma" in key:  # class attention begins at a share of 1e-5
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


@pytest.mark.parametrize(("fine", "coarse"), [(8, 2), (10, 7), (20, 14), (5, 5)])
def test_scales_on_one_grid_come_back_exactly_and_lie_over_their_places(fine: int, coarse: int) -> None:
    scales = [torch.randn(2, 1 + side * side, width) for side, width in ((fine, 3), (coarse, 4))]
    stacked = stack_scales(scales)
    assert stacked.shape == (2, 2 * (3 + 4), fine, fine)
    back = unstack_scales(stacked, [3, 4], [fine, coarse])
    assert all(torch.equal(ours, given) for ours, given in zip(back, scales, strict=True))
    grid = scales[1][:, 1:].transpose(1, 2).reshape(2, 4, coarse, coarse)
    assert torch.equal(stacked[:, 3:7, 0, -1], grid[:, :, 0, -1])
    assert torch.equal(stacked[:, 3:7], interpolate(grid, size=fine, mode="nearest"))


def test_a_coarse_token_shares_its_gradient_among_the_cells_it_covers() -> None:
    scales = [torch.randn(1, 1 + side * side, 2) for side in (8, 2)]
    stacked = stack_scales(scales).requires_grad_()
    coarse = unstack_scales(stacked, [2, 2], [8, 2])[1]
    (gradient,) = torch.autograd.grad(coarse[0, 2, 0], stacked)  # behind the class token: upper right
    expected = torch.zeros(8, 8)
    expected[:4, 4:] = 1 / 16
    torch.testing.assert_close(gradient[0, 2], expected)
    assert gradient[0, [0, 1, 3]].abs().sum() == 0


def test_both_heads_of_a_distilled_network_are_fitted_to_the_classes(tmp_path: Path) -> None:
    source = network_of("timm/pit_ti_distilled_224")
    state = {key: tensor.contiguous() for key, tensor in source.model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    fitted = build_network(
        "timm/pit_ti_distilled_224", classes=5, image_size=96, weights=tmp_path / "w.safetensors"
    )
    assert [layer.weight.shape[0] for layer in fitted.classifiers] == [5, 5]
    with torch.no_grad():
        images = images_for(source)
        torch.testing.assert_close(fitted.features(images), source.features(images))
        assert fitted(images).shape == (2, 5)
    own = [layer.weight.clone() for layer in fitted.classifiers]
    adopt_weights(fitted, source)
    assert all(torch.equal(w, layer.weight) for w, layer in zip(own, fitted.classifiers, strict=True))
