"""One network's view of one batch: the activation, the logits, and the gradient of the head alone; the
interface that class activation maps require of a network, and their result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from models.errors import LearningError
from models.saliency.layers import HeadTape, readable


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


@dataclass(frozen=True)
class HeadPass:
    """The input of a method.
    `activation` and `logits` carry the head's graph if the method needs it.

    `images` is None if only an activation was given.
    `tape` replaces the graph if the head consists of plain layers.
    """

    network: SplitNetwork
    images: Tensor | None
    activation: Tensor  # (B, C, h, w) float32
    logits: Tensor  # (B, K) float32
    targets: Tensor  # (B,) int64
    seed: int
    tape: HeadTape | None = None

    @property
    def values(self) -> Tensor:
        """The activation without a graph and without class tokens, (B, C, h, w)."""
        return self._places(self.activation.detach())

    def _places(self, tensor: Tensor) -> Tensor:
        spatial = self.network.spatial_channels
        return tensor if spatial == tensor.shape[1] else tensor[:, :spatial].contiguous()

    def gradient(self) -> Tensor:
        """d target logit / d values, (B, C, h, w).

        With global average pooling and one linear layer it is the layer's row divided by h·w, the same
        at every position: an expanded view, without autograd. Otherwise only the head is differentiated:
        by hand if it consists of plain layers.
        """
        if self.tape is not None:
            return self._places(self.tape.gradient_of(self.targets))
        linear = self.network.linear
        if linear is None:
            with torch.enable_grad():
                total = self.logits.gather(1, self.targets[:, None]).sum()
                (gradient,) = torch.autograd.grad(total, self.activation)
            return self._places(gradient)
        places = self.activation.shape[-2] * self.activation.shape[-1]
        # (B, C): a one-hot row times the weights
        rows = linear.weight.detach().float().index_select(0, self.targets) / places
        return rows[:, :, None, None].expand_as(self.activation)

    def summed_gradient_times_values(self) -> Tensor:
        """Σ over the positions of gradient × values, (B, C).

        Max pooling routes each gradient to the one position whose value it passed on, so the sum over its
        output is the same, for a quarter of the work.
        """
        if self.tape is None:
            return (self.gradient() * self.values).sum((2, 3))
        gradient = self.tape.gradient_of(self.targets, of_passed_on=True)
        return (gradient * self.tape.passed_on).sum((2, 3))


def run_head(
    network: SplitNetwork,
    activation: Tensor,
    target: Tensor | None,
    *,
    images: Tensor | None = None,
    graph: bool = False,
    seed: int = 0,
) -> HeadPass:
    """Run the head in fp32 on an activation of any float type; `graph` makes the result differentiable."""
    graph = graph and network.linear is None
    layers = network.head_layers if graph else None
    if layers is not None and readable(layers):
        leaf = _plain(activation.detach().float())
        with torch.no_grad():
            tape = HeadTape.record(layers, leaf)
        return HeadPass(network, images, leaf, tape.logits, _targets(tape.logits, target), seed, tape)
    with torch.set_grad_enabled(graph):
        leaf = _plain(activation.detach().float()).requires_grad_(graph)
        logits = network.head(leaf)
    return HeadPass(network, images, leaf, logits, _targets(logits, target), seed)


def _targets(logits: Tensor, target: Tensor | None) -> Tensor:
    return logits.detach().argmax(1) if target is None else _plain(target.to(logits.device))


def _plain(tensor: Tensor) -> Tensor:
    """Copy a tensor made in inference mode, which cannot enter a graph; return others unchanged."""
    return tensor.clone() if tensor.is_inference() else tensor
