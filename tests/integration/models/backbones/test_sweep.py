"""Every torchvision family and a wide choice of timm's: the split equals the library's own forward."""

from __future__ import annotations

import inspect

import pytest
import torch

from models.backbones.build import build_network, weight_shapes
from models.backbones.errors import UnsupportedBackbone
from models.backbones.weights import PACKAGED, shapes_of

pytestmark = pytest.mark.library

TORCHVISION = [
    ("alexnet", 64),
    ("convnext_tiny", 64),
    ("densenet121", 64),
    ("efficientnet_b0", 64),
    ("googlenet", 64),
    ("inception_v3", 128),
    ("maxvit_t", 224),
    ("mnasnet0_5", 64),
    ("mobilenet_v2", 64),
    ("mobilenet_v3_small", 64),
    ("regnet_y_400mf", 64),
    ("resnet18", 64),
    ("shufflenet_v2_x0_5", 64),
    ("squeezenet1_1", 64),
    ("swin_t", 64),
    ("swin_v2_t", 64),
    ("torchvision/vit_b_16", 64),
    ("vgg11", 64),
]
TIMM = [
    ("timm/resnet10t", 64),
    ("timm/resnetv2_50", 64),
    ("timm/seresnet18", 64),
    ("timm/tf_efficientnet_lite0", 64),
    ("timm/mobilenetv3_small_050", 64),
    ("timm/mobilenetv4_conv_small_035", 64),
    ("timm/ghostnet_050", 64),
    ("timm/regnetx_002", 64),
    ("timm/dla46_c", 64),
    ("timm/hrnet_w18_small", 64),
    ("timm/xception41", 64),
    ("timm/convnext_atto", 64),
    ("timm/convnextv2_atto", 64),
    ("timm/edgenext_xx_small", 64),
    ("timm/mobilevit_xxs", 64),
    ("timm/repvgg_a0", 64),
    ("timm/rexnet_100", 64),
    ("timm/efficientvit_b0", 64),
    ("timm/fastvit_t8", 64),
    ("timm/poolformer_s12", 64),
    ("timm/pvt_v2_b0", 64),
    ("timm/vit_tiny_patch16_224", 64),
    ("timm/deit_tiny_distilled_patch16_224", 64),
    ("timm/swin_tiny_patch4_window7_224", 64),
    ("timm/mixer_s32_224", 64),
    ("timm/halonet_h1", 256),
    ("timm/vit_small_patch16_lingbot", 64),
    ("timm/beit_base_patch16_224", 64),
]


@pytest.mark.parametrize(("name", "side"), TORCHVISION + TIMM)
def test_split_equals_the_librarys_forward(name: str, side: int) -> None:
    shapes = weight_shapes(name, classes=3, image_size=side)
    network = build_network(name, classes=3, image_size=side)
    assert shapes == shapes_of(network.model.state_dict())
    # Some libraries begin with zeros, and SqueezeNet ends in a ReLU: negative scores have no gradient there.
    torch.nn.init.uniform_(network.classifier.weight)
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        whole = network.model((images - network.mean) / network.std)
        activation = network.features(images)
        torch.testing.assert_close(network.head(activation), whole, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network(images), whole, rtol=1e-4, atol=1e-5)
        if network.linear is not None:
            scores = network.linear(activation.mean((2, 3)))
            torch.testing.assert_close(scores, whole, rtol=1e-4, atol=1e-5)
    assert activation.shape == (2, *network.activation_shape)
    leaf = activation.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.head(leaf)[:, 0].sum(), leaf)
    assert gradient[:, : network.spatial_channels].abs().max() > 0


def test_every_torchvision_classifier_is_of_a_family_that_is_known() -> None:
    import torchvision.models as tv  # loads torch's compiler

    from models.backbones import torchvision as backbones_torchvision

    known = {inspect.getmodule(family) for family in backbones_torchvision._SPLITS}
    for name in backbones_torchvision.names():
        assert inspect.getmodule(tv.get_model_builder(name)) in known, name


@pytest.mark.parametrize(
    ("name", "side", "made_for"),
    [("timm/halonet_h1", 224, 256), ("torchvision/vit_b_16", 65, 224)],
)
def test_a_size_that_a_network_cannot_take_is_refused_with_one_that_it_can(
    name: str, side: int, made_for: int
) -> None:
    with pytest.raises(UnsupportedBackbone, match=f"at {side} pixels.*made for {made_for} pixels"):
        build_network(name, classes=2, image_size=side)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_weights_are_those_of_the_package_with_a_last_layer_for_the_classes(name: str) -> None:
    """ImageNet weights that come as a package, in timm's order of tensors under other names."""
    theirs = list(torch.load(PACKAGED[name](), map_location="cpu", weights_only=True).values())
    whole, fitted = (
        build_network(name, classes=classes, image_size=64, pretrained=True) for classes in (1000, 2)
    )
    assert (whole.spec.mean, whole.spec.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    ours = whole.model.state_dict().values()
    assert all(torch.equal(tensor, their) for tensor, their in zip(ours, theirs, strict=True))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(whole.features(images), fitted.features(images))
        assert fitted(images).shape == (2, 2)
