"""The paper's two networks for small images: SmallCNN (Biased MNIST) and ResNet-32 (CIFAR-10, SVHN)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.errors import UnsupportedBackbone, WeightsUnavailable
from models.backbones.network import BuildRequest, Built, Chain, Split, flatten
from models.backbones.weights import NO_WEIGHTS, PublishedWeights
from models.types import Rgb


class SmallCNN(nn.Module):
    """Four 3×3 convolutions without padding, 3→16→16, pool, →32→32, pool; 256 hidden units.

    At 28 px: 28 → 26 → 24 → 12 → 10 → 8 → 4, so the first linear layer has 512 inputs.
    The activation is the last convolution after batch norm and ReLU, before its pooling (8×8 at
    28 px): it is what the head sees, it has the finest grid, and its values are not negative, which
    XGradCAM needs because it divides by their sum.
    """

    def __init__(self, classes: int, image_size: int) -> None:
        super().__init__()
        side = ((image_size - 4) // 2 - 4) // 2
        if side < 1:
            raise UnsupportedBackbone(f"small_cnn needs images of at least 16 pixels, not {image_size}")
        self.block1 = nn.Sequential(*_conv(3, 16), *_conv(16, 16))
        self.pool1 = nn.MaxPool2d(2)
        self.block2 = nn.Sequential(*_conv(16, 32), *_conv(32, 32))
        self.pool2 = nn.MaxPool2d(2)
        self.hidden = nn.Sequential(
            nn.Linear(32 * side * side, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True)
        )
        self.fc = nn.Linear(256, classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W) → (B, K)
        x = self.block2(self.pool1(self.block1(x)))  # (B, 32, h, w)
        return self.fc(self.hidden(self.pool2(x).flatten(1)))  # type: ignore[no-any-return]  # a module's call


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    # In place, as in torchvision: the same bits with less memory traffic.
    return [nn.Conv2d(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class _Block(nn.Module):
    """Two 3×3 convolutions and a parameter-free shortcut: option A of He et al. 2016, 4.2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.new_channels = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:  # zeros for the new channels
            shortcut = F.pad(
                shortcut, (0, 0, 0, 0, self.new_channels // 2, self.new_channels - self.new_channels // 2)
            )
        return F.relu(y + shortcut)


class ResNet32(nn.Module):
    """The CIFAR ResNet of He et al. 2016, 4.2, with n = 5: 31 convolutions, 0.46 M parameters."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(16, 16, stride=1)
        self.layer2 = _stage(16, 32, stride=2)
        self.layer3 = _stage(32, 64, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W) → (B, K)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))  # (B, 64, H/4, W/4)
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]  # a module's call


def _stage(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(inputs, outputs, stride), *(_Block(outputs, outputs, 1) for _ in range(4)))


_SMALL_CNN = Split(
    Chain("block1", "pool1", "block2"),
    Chain("pool2", flatten, "hidden", "fc"),
)
_RESNET32 = Split(
    Chain("conv1", "bn1", "relu", "layer1", "layer2", "layer3"),
    Chain("avgpool", flatten, "fc"),
)
_NOTHING: tuple[Rgb, Rgb] = (
    (0.0, 0.0, 0.0),
    (1.0, 1.0, 1.0),
)  # as in the paper: Biased MNIST is not normalised
_CENTRED: tuple[Rgb, Rgb] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # to -1..1, whatever the data

_Maker = Callable[[int, int], nn.Module]
_NETWORKS: dict[str, tuple[_Maker, Split, tuple[Rgb, Rgb]]] = {
    "small_cnn": (SmallCNN, _SMALL_CNN, _NOTHING),
    "resnet32": (lambda classes, _: ResNet32(classes), _RESNET32, _CENTRED),
}


def names() -> Sequence[str]:
    return tuple(_NETWORKS)


def knows(name: str) -> bool:
    return name in _NETWORKS


def published_weights(name: str) -> PublishedWeights:
    return NO_WEIGHTS


def check_weights(name: str, tensors: Mapping[str, Tensor]) -> None:
    raise _no_weights(name)


def build(request: BuildRequest) -> Built:
    make, split, (mean, std) = _NETWORKS[request.name]
    if request.pretrained:
        raise _no_weights(request.name)
    return Built(make(request.classes, request.image_size), split, mean, std)


def _no_weights(name: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"there are no published weights for {name}: leave out pretrained, or name a model"
    )
