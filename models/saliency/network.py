"""The interface that class activation maps require of a network, and their result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from models.errors import LearningError


class SplitNetwork(Protocol):
    """A classifier cut at its last convolution: `head(features(images))` are the logits."""

    @property
    def training(self) -> bool:
        """True while batch statistics and dropout are on; maps are refused then."""

    @property
    def linear(self) -> nn.Linear | None:
        """The last layer, if the head is exactly global average pooling and this layer; else None."""

    @property
    def head_layers(self) -> Sequence[nn.Module] | None:
        """The layers of the head, if it is nothing but their sequence; else None."""

    @property
    def spatial_channels(self) -> int:
        """How many of the C channels belong to image positions; the rest carry class tokens."""

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
    """There is no saliency method with this name; the message lists the names."""

    reason = "unknown_method"


class NotInEvaluation(ValueError):
    """The network is in training mode, where a map would depend on the rest of the batch."""
