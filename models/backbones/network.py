"""A network as two functions, features(images) → activation and head(activation) → logits.

The library's module is kept whole inside, so its weights keep the library's names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from models.backbones.errors import UnsupportedBackbone
from models.backbones.weights import PublishedWeights, last_layers
from models.types import Rgb

IMAGENET_MEAN: Rgb = (0.485, 0.456, 0.406)
IMAGENET_STD: Rgb = (0.229, 0.224, 0.225)


def rgb(values: Sequence[float]) -> Rgb:
    """Raises ValueError for other than three numbers."""
    red, green, blue = map(float, values)
    return (red, green, blue)


@dataclass(frozen=True)
class BackboneSpec:
    """`mean` and `std` are per channel of an RGB image in 0..1; `image_size` is a side in pixels."""

    name: str
    classes: int
    image_size: int
    mean: Rgb
    std: Rgb


@dataclass(frozen=True)
class BuildRequest:
    """A request to a library."""

    name: str
    classes: int
    image_size: int
    pretrained: bool = False


@dataclass(frozen=True)
class Split:
    """Where a module is cut: `head(model, features(model, x))` equals `model(x)`.

    The last `carried` channels have no position in the image (those of a class token): they are equal at
    every position.
    """

    features: Callable[[nn.Module, Tensor], Tensor]
    head: Callable[[nn.Module, Tensor], Tensor]
    carried: int = 0


class Built(NamedTuple):
    """A library's answer to a `BuildRequest`.

    `classifiers` names the layers that give the class scores, if they are more than the last layer;
    `size_hint` tells the user which image size is known to work.
    """

    model: nn.Module
    split: Split
    mean: Rgb
    std: Rgb
    classifiers: Sequence[str] = ()
    size_hint: str = ""


class Library(Protocol):
    """A module that builds a family of networks.
    `knows` says whether `build` accepts a name; `names` lists each choice once. `published_weights` builds
    none and needs no internet.

    `check_weights` raises `WeightsUnavailable` unless `build` could load these tensors as published weights.
    """

    def names(self) -> Sequence[str]: ...
    def knows(self, name: str) -> bool: ...
    def published_weights(self, name: str) -> PublishedWeights: ...
    def check_weights(self, name: str, tensors: Mapping[str, Tensor]) -> None: ...
    def build(self, request: BuildRequest) -> Built: ...


class Network(nn.Module):
    """Logits (B, K) of images (B, 3, H, W), float in 0..1.
    The normalisation is inside.

    `activation_shape` is (C, h, w). The first `spatial_channels` of the C belong to positions of
    the image; the others, if any, carry class tokens. `linear` is the last layer if the head is
    exactly global average pooling and that layer, else None. `classifier_names` names `classifiers` in
    `model`.
    """

    def __init__(self, built: Built, spec: BackboneSpec) -> None:
        super().__init__()
        self.model = built.model
        self.spec = spec
        self._split = built.split
        self.classifier_names = tuple(built.classifiers) or tuple(last_layers(built.model, spec.classes))
        self._size_hint = built.size_hint
        self._plain = spec.mean == (0.0, 0.0, 0.0) and spec.std == (1.0, 1.0, 1.0)
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self._is_linear = False
        self.activation_shape = self._probe()

    def features(self, images: Tensor) -> Tensor:
        """The activation (B, C, h, w) that saliency maps are computed from."""
        normal = images if self._plain else (images - self.mean) / self.std
        return self._split.features(self.model, normal)

    def head(self, activation: Tensor) -> Tensor:
        """Logits (B, K) of an activation (B, C, h, w); gradients flow to its spatial channels only.

        A class token's part of the gradient has no position in the image, so maps leave it out.
        """
        if self._split.carried:
            places = activation.shape[1] - self._split.carried
            activation = torch.cat([activation[:, :places], activation[:, places:].detach()], 1)
        return self._split.head(self.model, activation)

    def forward(self, images: Tensor) -> Tensor:
        return self._split.head(self.model, self.features(images))

    @property
    def head_layers(self) -> Sequence[nn.Module] | None:
        """The head's layers in order, if it is a plain chain of modules; else None."""
        head = self._split.head
        return head.layers(self.model) if isinstance(head, Chain) and not self._split.carried else None

    @property
    def spatial_channels(self) -> int:
        return self.activation_shape[0] - self._split.carried

    @property
    def linear(self) -> nn.Linear | None:
        layer = self.classifier
        return layer if self._is_linear and isinstance(layer, nn.Linear) else None

    @property
    def classifier(self) -> nn.Linear | nn.Conv2d:
        """The layer that gives the class scores; the last of `classifiers`."""
        return self.classifiers[-1]

    @property
    def classifiers(self) -> list[nn.Linear | nn.Conv2d]:
        """Every layer that gives class scores: usually one; with several, the network sums their scores."""
        layers = [self.model.get_submodule(name) for name in self.classifier_names]
        return [layer for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]

    def _probe(self) -> tuple[int, int, int]:
        """Run once to find the activation's shape. Raises UnsupportedBackbone if it gives no saliency map."""
        training = self.training
        self.eval()
        side = self.spec.image_size
        try:
            with torch.no_grad():
                activation = self.features(torch.rand(1, 3, side, side))
                _check_activation(activation, self.spec)
                noise = torch.randn(2, *activation.shape[1:])
                places = activation.shape[1] - self._split.carried
                noise[1, places:] = noise[0, places:]  # two images that differ only at positions
                inputs = _classifier_input(self, noise)
        except UnsupportedBackbone:
            raise
        except SIZE_ERRORS as error:
            raise wrong_size(self.spec.name, side, error, self._size_hint) from error
        finally:
            self.train(training)
        if torch.equal(inputs.reshape(2, -1)[0], inputs.reshape(2, -1)[1]):
            raise UnsupportedBackbone(
                f"{self.spec.name}: its class scores do not depend on positions of its last activation"
            )
        pooled = noise.mean((2, 3))
        self._is_linear = (
            len(self.classifier_names) == 1
            and inputs.shape == pooled.shape
            and torch.allclose(inputs, pooled, atol=1e-5)
        )
        _, channels, height, width = activation.shape
        return channels, height, width


SIZE_ERRORS = (RuntimeError, AssertionError, ValueError, IndexError)
"""What the libraries' networks raise for an unsupported image size."""


def wrong_size(name: str, side: int, error: Exception, hint: str) -> UnsupportedBackbone:
    """Translate the `error` that a library raised at this image size for the user."""
    return UnsupportedBackbone(
        f"{name} cannot be used at {side} pixels: {str(error) or 'it does not fit'}{hint}"
    )


def _check_activation(activation: object, spec: BackboneSpec) -> None:
    if not isinstance(activation, Tensor) or activation.ndim != 4:
        raise UnsupportedBackbone(f"{spec.name} does not give one activation with a value for each position")
    height, width = activation.shape[2:]
    if height * width < 2:
        raise UnsupportedBackbone(
            f"{spec.name} sees an image of {spec.image_size} pixels as a single position: use a larger "
            "image_size"
        )


def _classifier_input(network: Network, activation: Tensor) -> Tensor:
    """The last layer's input (B, …) for an activation (B, C, h, w)."""
    inputs: list[Tensor] = []

    def remember(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        inputs.append(args[0])

    hook = network.classifier.register_forward_pre_hook(remember)
    try:
        logits = network.head(activation)
    finally:
        hook.remove()
    if logits.shape != (len(activation), network.spec.classes) or len(inputs) != 1:
        raise UnsupportedBackbone(
            f"{network.spec.name} does not end in one layer that gives {network.spec.classes} scores"
        )
    return inputs[0]


class Chain:
    """Applies submodules (by name), layers without weights and plain functions, in order."""

    def __init__(self, *parts: str | Callable[[Tensor], Tensor]) -> None:
        self._parts = parts

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        for part in self._parts:
            x = model.get_submodule(part)(x) if isinstance(part, str) else part(x)
        return x

    def layers(self, model: nn.Module) -> list[nn.Module] | None:
        """The parts, with each `nn.Sequential` unpacked; None if one of them is a plain function."""
        layers: list[nn.Module] = []
        for part in self._parts:
            layer = model.get_submodule(part) if isinstance(part, str) else part
            if not isinstance(layer, nn.Module):
                return None
            layers += _leaves(layer)
        return layers


def _leaves(layer: nn.Module) -> list[nn.Module]:
    if type(layer) is not nn.Sequential:
        return [layer]
    return [leaf for child in layer for leaf in _leaves(child)]


flatten = nn.Flatten().eval()
"""(B, …) → (B, D). In eval mode because `models.saliency.layers` reads no layer in training mode."""


def tokens_to_grid(tokens: Tensor, prefix: int = 0) -> Tensor:
    """(B, prefix + h·w, C) → (B, C·(1 + prefix), h, w), h = w; prefix tokens are carried, see `Split`."""
    batch, length, width = tokens.shape
    side = round((length - prefix) ** 0.5)
    if side * side != length - prefix:
        raise UnsupportedBackbone(f"its {length - prefix} tokens are not a square grid")
    grid = tokens[:, prefix:].transpose(1, 2).reshape(batch, width, side, side)
    if not prefix:
        return grid
    carried = tokens[:, :prefix].flatten(1)  # (B, prefix·C)
    return torch.cat([grid, carried[:, :, None, None].expand(-1, -1, side, side)], 1)


def grid_to_tokens(activation: Tensor, prefix: int = 0) -> Tensor:
    """The inverse of `tokens_to_grid`."""
    width = activation.shape[1] // (1 + prefix)
    tokens = activation[:, :width].flatten(2).transpose(1, 2)  # (B, h·w, C)
    if not prefix:
        return tokens
    carried = activation[:, width:, 0, 0].reshape(-1, prefix, width)
    return torch.cat([carried, tokens], 1)
