"""One network's view of one batch: the activation, the logits, and the gradient of the head alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from models.saliency.layers import HeadTape, readable
from models.saliency.network import SplitNetwork

Objective = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, K), targets (B,)) → one number per image (B,): what the map explains."""


def target_logit(logits: Tensor, targets: Tensor) -> Tensor:
    """The logit of the target class, as in every CAM but Finer-CAM."""
    return logits.gather(1, targets[:, None])[:, 0]


@dataclass(frozen=True)
class HeadPass:
    """The input of a method. `activation` and `logits` carry the head's graph if the method needs it.

    `images` is None if only an activation was given; methods that perturb the input then raise ValueError.
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
    def piecewise_linear(self) -> bool:
        """True if the head is known to have no second derivative."""
        return self.network.linear is not None or self.tape is not None

    @property
    def values(self) -> Tensor:
        """The activation without a graph and without class tokens, (B, C, h, w)."""
        return self._places(self.activation.detach())

    def _places(self, tensor: Tensor) -> Tensor:
        spatial = self.network.spatial_channels
        return tensor if spatial == tensor.shape[1] else tensor[:, :spatial].contiguous()

    def gradient(self, objective: Objective = target_logit) -> Tensor:
        """d objective / d values, (B, C, h, w).

        With global average pooling and one linear layer it is the layer's row divided by h·w, the same
        at every position: an expanded view, without autograd. Otherwise only the head is differentiated:
        by hand if it consists of plain layers.
        """
        if self.tape is not None and objective is target_logit:
            return self._places(self.tape.gradient_of(self.targets))
        if self.tape is not None:
            return self._places(self.tape.gradient(self._logit_gradient(objective)))
        linear = self.network.linear
        if linear is None:
            with torch.enable_grad():
                total = objective(self.logits, self.targets).sum()
                (gradient,) = torch.autograd.grad(total, self.activation)
            return self._places(gradient)
        places = self.activation.shape[-2] * self.activation.shape[-1]
        weight = linear.weight.detach().float()
        if objective is target_logit:
            rows = weight.index_select(0, self.targets)  # (B, C): a one-hot row times the weights
        else:
            rows = self._logit_gradient(objective) @ weight
        rows = rows / places
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

    def _logit_gradient(self, objective: Objective) -> Tensor:
        """d objective / d logits, (B, K)."""
        with torch.enable_grad():
            logits = self.logits.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(objective(logits, self.targets).sum(), logits)
        return gradient


def run_head(
    network: SplitNetwork,
    activation: Tensor,
    target: Tensor | None,
    *,
    images: Tensor | None = None,
    graph: bool = False,
    twice: bool = False,
    seed: int = 0,
) -> HeadPass:
    """Run the head in fp32 on an activation of any float type; `graph` makes the result differentiable.

    With `twice`, the gradient is differentiable too.
    """
    graph = graph and network.linear is None
    layers = network.head_layers if graph else None
    if layers is not None and readable(layers):
        leaf = _plain(activation.detach().float())
        with torch.no_grad():
            tape = HeadTape.record(layers, leaf)
        return HeadPass(network, images, leaf, tape.logits, _targets(tape.logits, target), seed, tape)
    with torch.set_grad_enabled(graph), _PlainAttention() if twice else nullcontext():
        leaf = _plain(activation.detach().float()).requires_grad_(graph)
        logits = network.head(leaf)
    return HeadPass(network, images, leaf, logits, _targets(logits, target), seed)


class _PlainAttention(TorchFunctionMode):
    """Attention as products and a softmax, since torch's fused kernels have no second derivative.

    A mode affects only its own thread; torch's kernel switch (`sdpa_kernel`) affects the whole process.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_attention_math(*args, **kwargs)[0]
        if func is functional.multi_head_attention_forward:  # torchvision's; calls the other unseen
            return func(*args, **(kwargs | {"need_weights": True}))[0], None
        return func(*args, **kwargs)


def _targets(logits: Tensor, target: Tensor | None) -> Tensor:
    return logits.detach().argmax(1) if target is None else _plain(target.to(logits.device))


def _plain(tensor: Tensor) -> Tensor:
    """Copy a tensor made in inference mode, which cannot enter a graph; return others unchanged."""
    return tensor.clone() if tensor.is_inference() else tensor
