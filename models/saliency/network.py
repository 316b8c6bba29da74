"""What a class activation map needs of a network, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from torch import Tensor, nn

from models.errors import LearningError

Precision = Literal["fp32", "bf16"]


class SplitNetwork(Protocol):
    """A classifier cut at its last convolution: `head(features(images))` are the logits."""

    @property
    def training(self) -> bool:
        """True while batch statistics and dropout are on: no map can be taken then."""

    @property
    def linear(self) -> nn.Linear | None:
        """The last layer, where the head is exactly global average pooling and this layer; else None."""

    @property
    def head_layers(self) -> Sequence[nn.Module] | None:
        """The head as layers, one after the other, where it is no more than that; else None."""

    @property
    def spatial_channels(self) -> int:
        """How many of the C channels belong to places of the image; the rest carry class tokens."""

    def features(self, images: Tensor, /) -> Tensor:
        """(B, 3, H, W) in 0..1 → the activation (B, C, h, w)."""

    def head(self, activation: Tensor, /) -> Tensor:
        """(B, C, h, w) → logits (B, K)."""


class Saliency(NamedTuple):
    """Maps and the forward pass they came from.

    `maps` (B, h, w) float32 ≥ 0 (after the ReLU, before any scaling), at the activation's size;
    `logits` (B, K) float32; `targets` (B,) int64, the class that each map explains.
    """

    maps: Tensor
    logits: Tensor
    targets: Tensor


class UnknownMethod(LearningError, ValueError):
    """No saliency method has this name; the message lists those there are."""

    reason = "unknown_method"


class NotInEvaluation(ValueError):
    """The network is in training mode, where a map would depend on who shares the batch."""
