"""Our maps and masks beside the grad-cam package's on real architectures."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import pytorch_grad_cam as library
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.backbones import Network, build_network
from models.masking import masks, thresholds
from models.saliency import saliency, to_library_scale
from tests.integration.models.cam_library import FAST, LIBRARY, Whole

pytestmark = pytest.mark.slow


def of_library(cam: type, network: Network, images: Tensor) -> NDArray[np.float32]:
    if cam is library.AblationCAM:
        # It subtracts two logits that are nearly equal: what float32 leaves of that depends on the threads.
        network, images = copy.deepcopy(network).double(), images.double()
    whole = Whole(network).eval()
    with cam(whole, [] if cam is library.FullGrad else [whole.tap]) as method:
        return np.asarray(method(images.clone(), None), np.float32)


def photographs(images: int, size: int) -> Tensor:
    """Smooth random pictures: noise at several scales."""
    generator = torch.Generator().manual_seed(0)
    layers = [torch.rand(images, 3, side, side, generator=generator) for side in (2, 4, 8, size)]
    large = [nn.functional.interpolate(x, size=(size, size), mode="bilinear") for x in layers]
    return torch.stack(large).mean(0)


def network(name: str, size: int) -> Network:
    return build_network(name, classes=5, image_size=size, seed=3)


@pytest.mark.parametrize(("name", "size", "images"), [("small_cnn", 28, 512), ("resnet18", 224, 24)])
def test_not_one_mask_pixel_differs(name: str, size: int, images: int) -> None:
    built, pictures = network(name, size), photographs(images, size)
    maps = torch.cat([saliency(built, part).maps for part in pictures.tensor_split(max(1, images // 32))])
    ours = masks(maps, thresholds(maps, (size, size)), (size, size)).numpy()
    for mask, heat in zip(ours, of_library(library.XGradCAM, built, pictures), strict=True):
        positive = heat[heat > 0]
        released = heat > positive.mean() + 2 * positive.std() if positive.size else heat > 1
        assert np.array_equal(mask, released)
    assert ours.any()


@pytest.mark.parametrize("method", LIBRARY)
@pytest.mark.parametrize(
    ("name", "size", "images"), [("small_cnn", 28, 3), ("resnet32", 32, 3), ("resnet18", 64, 1)]
)
def test_maps_are_those_of_the_library(name: str, size: int, images: int, method: str) -> None:
    built, pictures = network(name, size), photographs(images, size)
    ours = to_library_scale(saliency(built, pictures, method=method).maps, (size, size)).numpy()
    assert np.abs(ours - of_library(LIBRARY[method], built, pictures)).max() < 1e-5


@pytest.mark.parametrize("method", FAST)
def test_maps_of_a_signed_activation_are_those_of_the_library(method: str) -> None:
    built, pictures = network("mobilenet_v3_small", 64), photographs(3, 64)  # ends in a hard swish
    assert built.features(pictures).min() < 0
    ours = to_library_scale(saliency(built, pictures, method=method).maps, (64, 64)).numpy()
    assert np.abs(ours - of_library(FAST[method], built, pictures)).max() < 1e-5
