"""Differentiate a head that is a sequence of plain layers by hand, without building or walking a graph.

Covers the layers in `RULES`, all of them piecewise linear in evaluation mode. The gradients equal
autograd's; what is saved is its bookkeeping, which for a small network costs as much as the head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

_PASSES_ON = (nn.MaxPool2d,)
"""Each output is one of the inputs, so a channel's Σ gradient × value is the same on both sides."""


class Rule(NamedTuple):
    """`forward(layer, x)` → (output, saved); `backward(layer, saved, output's gradient)` → gradient of x."""

    forward: Callable[[Any, Tensor], tuple[Tensor, Any]]
    backward: Callable[[Any, Any, Tensor], Tensor]


def _apply(layer: nn.Module, x: Tensor) -> tuple[Tensor, None]:
    return layer(x), None


def _same(layer: nn.Module, saved: None, gradient: Tensor) -> Tensor:
    return gradient


def _relu(layer: nn.ReLU, x: Tensor) -> tuple[Tensor, Tensor]:
    output: Tensor = layer(x)
    return output, output


def _back_through_relu(layer: nn.ReLU, output: Tensor, gradient: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(gradient, output, 0)  # type: ignore[no-any-return]  # untyped


def _norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Tensor]:
    return layer(x), x


def _back_through_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, gradient: Tensor) -> Tensor:
    statistics = layer.running_mean, layer.running_var, None, None
    back = torch.ops.aten.native_batch_norm_backward
    return back(gradient, x, layer.weight, *statistics, False, layer.eps, [True, False, False])[0]  # type: ignore[no-any-return]  # untyped


def _max_pool(layer: nn.MaxPool2d, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    if x.device.type == "cpu":  # even with the copy, a third of the other layout's time
        x = x.contiguous(memory_format=torch.channels_last)
    pooled, places = functional.max_pool2d_with_indices(x, *_window(layer), layer.ceil_mode)
    return pooled, (x, places)


def _back_through_max_pool(layer: nn.MaxPool2d, saved: tuple[Tensor, Tensor], gradient: Tensor) -> Tensor:
    x, places = saved
    back = torch.ops.aten.max_pool2d_with_indices_backward
    return back(gradient, x, *_window(layer), layer.ceil_mode, places)  # type: ignore[no-any-return]  # untyped


def _window(layer: nn.MaxPool2d) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, stride, padding and dilation, each as (height, width)."""
    kernel, stride, padding, dilation = (
        [size, size] if isinstance(size, int) else list(size)
        for size in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    return kernel, stride, padding, dilation


RULES: dict[type[nn.Module], Rule] = {
    nn.BatchNorm1d: Rule(_norm, _back_through_norm),
    nn.BatchNorm2d: Rule(_norm, _back_through_norm),
    nn.Dropout: Rule(_apply, _same),
    nn.Flatten: Rule(
        lambda layer, x: (layer(x), x.shape), lambda _, shape, gradient: gradient.reshape(shape)
    ),
    nn.Identity: Rule(_apply, _same),
    nn.Linear: Rule(_apply, lambda layer, _, gradient: gradient @ layer.weight),
    nn.MaxPool2d: Rule(_max_pool, _back_through_max_pool),
    nn.ReLU: Rule(_relu, _back_through_relu),
}
"""Keyed by exact type: a subclass may compute something else."""


def readable(layers: Sequence[nn.Module]) -> bool:
    """True if `RULES` covers every layer, and each is in evaluation mode with running statistics (if any)."""
    return all(
        type(layer) in RULES and not layer.training and getattr(layer, "running_var", True) is not None
        for layer in layers
    )


@dataclass(frozen=True)
class HeadTape:
    """One forward pass through `layers`: what each layer saved for the backward pass, and the logits."""

    layers: Sequence[nn.Module]
    saved: Sequence[Any]
    passed_on: Tensor
    """The output of the leading layers that only pass values on; the input itself if there are none."""
    logits: Tensor

    @classmethod
    def record(cls, layers: Sequence[nn.Module], x: Tensor) -> Self:
        saved, passed_on = [], x
        for index, layer in enumerate(layers):
            x, for_backward = RULES[type(layer)].forward(layer, x)
            saved.append(for_backward)
            if index == _leading(layers) - 1:
                passed_on = x
        return cls(layers, saved, passed_on, x)

    def gradient(self, of_logits: Tensor, *, of_passed_on: bool = False) -> Tensor:
        """d (`of_logits` · logits) / d input, in the input's shape; or / d `passed_on`."""
        return self._back(of_logits, len(self.layers), of_passed_on)

    def gradient_of(self, targets: Tensor, *, of_passed_on: bool = False) -> Tensor:
        """`gradient` of one logit per sample, `targets` (B,); a linear last layer needs only its rows."""
        last = self.layers[-1]
        if type(last) is nn.Linear:
            rows = last.weight.index_select(0, targets)
            return self._back(rows, len(self.layers) - 1, of_passed_on)
        one_hot = functional.one_hot(targets, self.logits.shape[1]).to(self.logits.dtype)
        return self.gradient(one_hot, of_passed_on=of_passed_on)

    def _back(self, gradient: Tensor, end: int, of_passed_on: bool) -> Tensor:
        """Propagate from the output of the first `end` layers to their input, or to `passed_on`."""
        first = _leading(self.layers) if of_passed_on else 0
        for index in reversed(range(first, end)):
            layer = self.layers[index]
            gradient = RULES[type(layer)].backward(layer, self.saved[index], gradient)
        return gradient


def _leading(layers: Sequence[nn.Module]) -> int:
    """The number of leading layers that only pass values on."""
    return next((i for i, layer in enumerate(layers) if type(layer) not in _PASSES_ON), len(layers))
