"""A network as two functions, features(images) → activation and head(activation) → logits.

The module of a library is kept whole inside, so its weights keep the names that the library gave them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from models.backbones_errors import UnsupportedBackbone
from models.backbones_weights import classifier

Rgb = tuple[float, float, float]
IMAGENET_MEAN: Rgb = (0.485, 0.456, 0.406)
IMAGENET_STD: Rgb = (0.229, 0.224, 0.225)


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
    """What a library is asked for. `weights` is a local file in the library's own tensor names."""

    name: str
    classes: int
    image_size: int
    pretrained: bool = False
    weights: Path | None = None


@dataclass(frozen=True)
class Split:
    """Where a module is cut. `head(model, features(model, x))` equals `model(x)`.

    `prefix_tokens` is the number of tokens that have no place in the image (a class token): they
    ride as `prefix_tokens`·C further channels, equal at every position, behind the C spatial ones.
    """

    features: Callable[[nn.Module, Tensor], Tensor]
    head: Callable[[nn.Module, Tensor], Tensor]
    prefix_tokens: int = 0


class Built(NamedTuple):
    """A library's answer to a `BuildRequest`."""

    model: nn.Module
    split: Split
    mean: Rgb
    std: Rgb


class Library(Protocol):
    """A module that knows a family of networks."""

    def names(self) -> Sequence[str]: ...
    def build(self, request: BuildRequest) -> Built: ...


class Network(nn.Module):
    """Logits (B, K) of images (B, 3, H, W), float in 0..1. The normalisation is inside.

    `activation_shape` is (C, h, w). The first `spatial_channels` of the C belong to positions of
    the image; the others, if any, carry class tokens. `linear` is the last layer where the head
    is exactly global average pooling and that layer, else None.
    """

    def __init__(self, built: Built, spec: BackboneSpec) -> None:
        super().__init__()
        self.model = built.model
        self.spec = spec
        self._split = built.split
        self._plain = spec.mean == (0.0, 0.0, 0.0) and spec.std == (1.0, 1.0, 1.0)
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self._linear_name: str | None = None
        self.activation_shape = self._probe()

    def features(self, images: Tensor) -> Tensor:
        """The activation (B, C, h, w) that saliency maps are made of."""
        normal = images if self._plain else (images - self.mean) / self.std
        return self._split.features(self.model, normal)

    def head(self, activation: Tensor) -> Tensor:
        """Logits (B, K) of an activation (B, C, h, w); gradients flow to its spatial channels only.

        A class token's share of a gradient has no place in the image, so it is left out of a map.
        """
        if self._split.prefix_tokens:
            places = activation.shape[1] // (1 + self._split.prefix_tokens)
            activation = torch.cat([activation[:, :places], activation[:, places:].detach()], 1)
        return self._split.head(self.model, activation)

    def forward(self, images: Tensor) -> Tensor:
        return self._split.head(self.model, self.features(images))

    @property
    def spatial_channels(self) -> int:
        return self.activation_shape[0] // (1 + self._split.prefix_tokens)

    @property
    def linear(self) -> nn.Linear | None:
        if self._linear_name is None:
            return None
        layer = self.model.get_submodule(self._linear_name)
        assert isinstance(layer, nn.Linear)
        return layer

    @property
    def classifier(self) -> nn.Linear | nn.Conv2d:
        """The layer that makes the class scores."""
        return classifier(self.model, self.spec.classes)[1]

    def _probe(self) -> tuple[int, int, int]:
        """Run once to learn the shape of the activation, and refuse one that makes no map."""
        training = self.training
        self.eval()
        side = self.spec.image_size
        try:
            with torch.no_grad():
                activation = self.features(torch.rand(1, 3, side, side))
                _check_activation(activation, self.spec)
                noise = torch.randn(2, *activation.shape[1:])
                places = activation.shape[1] // (1 + self._split.prefix_tokens)
                noise[1, places:] = noise[0, places:]  # two images that differ in their positions alone
                inputs = _classifier_input(self, noise)
        except UnsupportedBackbone:
            raise
        except (RuntimeError, AssertionError, ValueError) as error:  # how networks refuse a size
            reason = str(error) or "it does not fit"
            raise UnsupportedBackbone(
                f"{self.spec.name} cannot be used at {side} pixels: {reason}"
            ) from error
        finally:
            self.train(training)
        if torch.equal(inputs.reshape(2, -1)[0], inputs.reshape(2, -1)[1]):
            raise UnsupportedBackbone(
                f"{self.spec.name}: its class scores do not look at the positions of the image"
            )
        name, layer = classifier(self.model, self.spec.classes)
        pooled = noise.mean((2, 3))
        if (
            isinstance(layer, nn.Linear)
            and inputs.shape == pooled.shape
            and torch.allclose(inputs, pooled, atol=1e-5)
        ):
            self._linear_name = name
        _, channels, height, width = activation.shape
        return channels, height, width


def _check_activation(activation: object, spec: BackboneSpec) -> None:
    if not isinstance(activation, Tensor) or activation.ndim != 4:
        raise UnsupportedBackbone(f"{spec.name} does not give one activation with a place for each position")
    height, width = activation.shape[2:]
    if height * width < 2:
        detail = f"sees an image of {spec.image_size} pixels as a single position: take a larger image_size"
        raise UnsupportedBackbone(f"{spec.name} {detail}")


def _classifier_input(network: Network, activation: Tensor) -> Tensor:
    """What the last layer sees of an activation (B, C, h, w): (B, …)."""
    seen: list[Tensor] = []

    def remember(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0])

    hook = network.classifier.register_forward_pre_hook(remember)
    try:
        logits = network.head(activation)
    finally:
        hook.remove()
    if logits.shape != (len(activation), network.spec.classes) or len(seen) != 1:
        raise UnsupportedBackbone(
            f"{network.spec.name} does not end in one layer that gives {network.spec.classes} scores"
        )
    return seen[0]


def chain(*parts: str | Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Tensor], Tensor]:
    """A function that sends a tensor through submodules (by name) and plain functions in turn."""

    def run(model: nn.Module, x: Tensor) -> Tensor:
        for part in parts:
            x = model.get_submodule(part)(x) if isinstance(part, str) else part(x)
        return x

    return run


def flatten(x: Tensor) -> Tensor:
    return x.flatten(1)


def tokens_to_grid(tokens: Tensor, prefix: int) -> Tensor:
    """(B, prefix + h·w, C) → (B, C·(1 + prefix), h, w), h = w; see `Split.prefix_tokens`."""
    batch, length, width = tokens.shape
    side = round((length - prefix) ** 0.5)
    if side * side != length - prefix:
        raise UnsupportedBackbone(f"its {length - prefix} tokens are not a square grid")
    grid = tokens[:, prefix:].transpose(1, 2).reshape(batch, width, side, side)
    if not prefix:
        return grid
    carried = tokens[:, :prefix].reshape(batch, prefix * width, 1, 1).expand(-1, -1, side, side)
    return torch.cat([grid, carried], 1)


def grid_to_tokens(activation: Tensor, prefix: int) -> Tensor:
    """The inverse of `tokens_to_grid`."""
    width = activation.shape[1] // (1 + prefix)
    tokens = activation[:, :width].flatten(2).transpose(1, 2)
    carried = activation[:, width:, 0, 0].reshape(activation.shape[0], prefix, width)
    return torch.cat([carried, tokens], 1) if prefix else tokens
