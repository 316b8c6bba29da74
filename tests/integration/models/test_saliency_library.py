"""Our maps and masks beside the grad-cam package's on real architectures."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

from models.backbones.build import build_network
from models.backbones.network import Network
from models.masking.rule import masks_of
from models.saliency import saliency
from tests.integration.models.cam_library import FAST, LIBRARY, Whole, cam_class
from tests.support.cam_scale import to_library_scale

pytestmark = [pytest.mark.library, pytest.mark.slow]


def of_library(method: str, network: Network, images: Tensor) -> NDArray[np.float32]:
    whole = Whole(network).eval()
    with cam_class(method)(whole, [] if method == "fullgrad" else [whole.tap]) as cam:
        return np.asarray(cam(images.clone(), None), np.float32)


def photographs(images: int, size: int) -> Tensor:
    """Smooth random pictures: noise at several scales."""
    generator = torch.Generator().manual_seed(0)
    layers = [torch.rand(images, 3, side, side, generator=generator) for side in (2, 4, 8, size)]
    large = [nn.functional.interpolate(x, size=(size, size), mode="bilinear") for x in layers]
    return torch.stack(large).mean(0)


def network(name: str, size: int) -> Network:
    return build_network(name, classes=5, image_size=size, seed=3)


def digits(images: int, size: int) -> tuple[Tensor, Tensor]:
    """Scikit-learn's digits and their labels, five classes."""
    pixels, labels = load_digits(return_X_y=True)
    grey = torch.from_numpy(pixels[:images].reshape(-1, 1, 8, 8) / 16).float().expand(-1, 3, -1, -1)
    enlarged = nn.functional.interpolate(grey, size=(size, size), mode="bilinear")
    return enlarged, torch.from_numpy(labels[:images] % 5)


@cache
def trained(name: str, size: int, steps: int, batch: int) -> Network:
    """A few steps on the digits: its activations and gradients are no longer those of random weights."""
    built = network(name, size).train()
    optimizer = torch.optim.SGD(built.parameters(), lr=0.02, momentum=0.9)
    pictures, labels = digits(steps * batch, size)
    for part in torch.arange(steps * batch).reshape(steps, batch):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(built(pictures[part]), labels[part]))
        optimizer.step()
    return built.eval()


def assert_no_mask_pixel_differs(method: str, built: Network, pictures: Tensor) -> None:
    size = (pictures.shape[2], pictures.shape[3])
    parts = pictures.tensor_split(max(1, len(pictures) // 32))
    maps = torch.cat([saliency(built, part, method=method).maps for part in parts])
    ours = masks_of(maps, size).numpy()
    for mask, heat in zip(ours, of_library(method, built, pictures), strict=True):
        positive = heat[heat > 0]
        released = heat > positive.mean() + 2 * positive.std() if positive.size else heat > 1
        assert np.array_equal(mask, released)
    assert ours.any()


@pytest.mark.parametrize(("name", "size", "images"), [("small_cnn", 28, 256), ("resnet18", 224, 24)])
def test_not_one_mask_pixel_differs(name: str, size: int, images: int) -> None:
    assert_no_mask_pixel_differs("xgradcam", network(name, size), photographs(images, size))


@pytest.mark.trains
@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize(
    ("name", "size", "steps", "batch", "images"),
    [("small_cnn", 28, 24, 64, 256), ("resnet18", 112, 8, 16, 12)],
)
def test_nor_of_a_network_that_was_trained(
    name: str, size: int, steps: int, batch: int, images: int, method: str
) -> None:
    pictures, _ = digits(images, size)
    assert_no_mask_pixel_differs(method, trained(name, size, steps, batch), pictures)


def test_fem_is_the_librarys_and_float64s_but_where_rounding_decides() -> None:
    """In one map of these 256, where a place is 4e-9 from the bound; which it is, the processor says."""
    built, pictures = network("small_cnn", 28), photographs(256, 28)
    ours = to_library_scale(saliency(built, pictures, method="fem").maps, (28, 28)).numpy()
    activation = built.features(pictures).detach().double()
    std, mean = torch.std_mean(activation, (2, 3), correction=0, keepdim=True)
    shares = (activation > mean + 2 * std).double().mean((2, 3), keepdim=True)
    exact = to_library_scale((shares * activation).sum(1).float(), (28, 28)).numpy()
    for other in (exact, of_library("fem", built, pictures)):
        assert (np.abs(ours - other).max((1, 2)) > 1e-5).sum() <= 1


@pytest.mark.parametrize("method", LIBRARY)
@pytest.mark.parametrize(
    ("name", "size", "images"), [("small_cnn", 28, 3), ("resnet32", 32, 3), ("resnet18", 64, 1)]
)
def test_maps_are_those_of_the_library(name: str, size: int, images: int, method: str) -> None:
    built, pictures = network(name, size), photographs(images, size)
    ours = to_library_scale(saliency(built, pictures, method=method).maps, (size, size)).numpy()
    assert np.abs(ours - of_library(method, built, pictures)).max() < 1e-5


@pytest.mark.parametrize("method", FAST)
def test_maps_of_a_signed_activation_are_those_of_the_library(method: str) -> None:
    built, pictures = network("mobilenet_v3_small", 64), photographs(3, 64)  # ends in a hard swish
    assert built.features(pictures).min() < 0
    ours = to_library_scale(saliency(built, pictures, method=method).maps, (64, 64)).numpy()
    assert np.abs(ours - of_library(method, built, pictures)).max() < 1e-5
