"""Class activation maps from the head alone: one forward pass of the backbone, never its gradient.

Cost on top of a plain forward pass: with a linear head (global average pooling and one layer) every
gradient method has a closed form, about one more pass over the activation; with a head of plain layers,
a few products; with any other head, its forward and backward pass by autograd. `fullgrad` costs a gradient
through everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.saliency import channels
from models.saliency.head_pass import (
    HeadPass,
    NotInEvaluation,
    Saliency,
    SplitNetwork,
    UnknownMethod,
    run_head,
)
from models.saliency.layers import readable
from models.saliency.scale import upsample

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "NotInEvaluation",
    "Saliency",
    "SplitNetwork",
    "UnknownMethod",
    "activation_of",
    "is_light",
    "saliency",
    "saliency_of_activation",
    "upsample",
]


class _Method(NamedTuple):
    maps: Callable[[HeadPass], Tensor]
    gradient: bool
    needs_images: bool = False


_TABLE = {
    "xgradcam": _Method(channels.xgradcam, gradient=True),
    "gradcam": _Method(channels.gradcam, gradient=True),
    "gradcam++": _Method(channels.gradcam_plusplus, gradient=True),
    "hirescam": _Method(channels.hirescam, gradient=True),
    "layercam": _Method(channels.layercam, gradient=True),
    "gradcamelementwise": _Method(channels.gradcam_elementwise, gradient=True),
    "fem": _Method(channels.fem, gradient=False),
    "fullgrad": _Method(channels.fullgrad, gradient=False, needs_images=True),
    "randomcam": _Method(channels.randomcam, gradient=False),
}

METHODS: tuple[str, ...] = tuple(_TABLE)
DEFAULT_METHOD = "xgradcam"


def saliency(
    network: SplitNetwork,
    images: Tensor,
    *,
    method: str = DEFAULT_METHOD,
    target: Literal["predicted"] | Tensor = "predicted",
    seed: int = 0,
) -> Saliency:
    """Saliency maps of `images` (B, 3, H, W) float in 0..1, on the network's device.

    `target` is the predicted class or a class per image (B,) int64. Only `randomcam` uses `seed`.
    Raises UnknownMethod, and NotInEvaluation in training mode.
    """
    _check(network, method)
    activation = activation_of(network, images)
    return saliency_of_activation(network, activation, method=method, target=target, images=images, seed=seed)


def activation_of(network: SplitNetwork, images: Tensor) -> Tensor:
    """`features` of `images`, without a graph: the part of `saliency` that costs a forward pass."""
    with torch.no_grad():
        return network.features(images)


def saliency_of_activation(
    network: SplitNetwork,
    activation: Tensor,
    *,
    method: str = DEFAULT_METHOD,
    target: Literal["predicted"] | Tensor = "predicted",
    images: Tensor | None = None,
    seed: int = 0,
) -> Saliency:
    """`saliency` of an output of `features`; `fullgrad` raises ValueError without `images`."""
    _check(network, method)
    entry = _TABLE[method]
    classes = target if isinstance(target, Tensor) else None
    with torch.inference_mode(False), torch.no_grad():
        head_pass = run_head(network, activation, classes, images=images, graph=entry.gradient, seed=seed)
        maps = entry.maps(head_pass).clamp_min(0)
    return Saliency(maps, head_pass.logits.detach(), head_pass.targets)


def is_light(network: SplitNetwork, method: str) -> bool:
    """True if `saliency_of_activation` takes a few passes over the activation, whatever the network costs."""
    layers = network.head_layers
    plain = network.linear is not None or (layers is not None and readable(layers))
    return plain and method in _TABLE and not _TABLE[method].needs_images


def _check(network: SplitNetwork, method: str) -> None:
    if method not in _TABLE:
        raise UnknownMethod(f"there is no saliency method {method!r}; use one of {', '.join(METHODS)}")
    if network.training:
        raise NotInEvaluation("call network.eval() first: in training mode a map depends on the batch")
