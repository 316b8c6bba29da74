"""Methods that weight channels or positions by the head's gradient. Cost: one pass over the activation;
FullGrad, by the grad-cam package, runs the whole network again.

Each takes a HeadPass and returns signed maps (B, h, w); the caller applies the ReLU. Constants are those
of the grad-cam package 1.5.7, whose maps these equal.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from models.saliency.head_pass import HeadPass

_PLACES = (2, 3)


def combine(weights: Tensor, activation: Tensor) -> Tensor:
    """Σ over channels of weight (B, C) × activation (B, C, h, w), as one batched product → (B, h, w)."""
    b, _, h, w = activation.shape
    # A row times a matrix: `flatten` copies in neither memory format, and with channels last a matrix
    # times a column costs 5 to 12 times as much.
    return torch.bmm(weights[:, None, :], activation.flatten(2)).reshape(b, h, w)


def gradcam(head_pass: HeadPass) -> Tensor:
    """Selvaraju et al. 2017: a channel's weight is its mean gradient. Linear head: closed form."""
    return combine(head_pass.gradient().mean(_PLACES), head_pass.values)


def xgradcam(head_pass: HeadPass) -> Tensor:
    """Fu et al. 2020: a channel's weight is its activation-weighted gradient. Linear head: closed form."""
    activation = head_pass.values
    total = activation.sum(_PLACES)
    if head_pass.network.linear is not None:  # the gradient is the same at every position
        return combine(head_pass.gradient()[:, :, 0, 0] * (total / (total + 1e-7)), activation)
    return combine(head_pass.summed_gradient_times_values() / (total + 1e-7), activation)


def hirescam(head_pass: HeadPass) -> Tensor:
    """Draelos & Carin 2020: gradient × activation at each position."""
    return (head_pass.gradient() * head_pass.values).sum(1)


def gradcam_elementwise(head_pass: HeadPass) -> Tensor:
    """HiResCAM with a ReLU before the channels are added."""
    return (head_pass.gradient() * head_pass.values).clamp_min(0).sum(1)


def layercam(head_pass: HeadPass) -> Tensor:
    """Jiang et al. 2021: positive gradient × activation at each position."""
    return (head_pass.gradient().clamp_min(0) * head_pass.values).sum(1)


def gradcam_plusplus(head_pass: HeadPass) -> Tensor:
    """Chattopadhay et al. 2018, equation 19."""
    activation, gradient = head_pass.values, head_pass.gradient()
    square = gradient**2
    total = activation.sum(_PLACES, keepdim=True)
    alpha = square / (2 * square + total * (square * gradient) + 1e-6)
    alpha = torch.where(gradient != 0, alpha, 0)
    return combine((gradient.clamp_min(0) * alpha).sum(_PLACES), activation)


def randomcam(head_pass: HeadPass) -> Tensor:
    """A baseline: one weight per channel for all images, uniform in (-1, 1), drawn from the seed."""
    generator = torch.Generator().manual_seed(head_pass.seed)
    activation = head_pass.values
    weights = torch.rand(activation.shape[1], generator=generator) * 2 - 1
    return combine(weights.to(activation.device).expand(len(activation), -1), activation)


def fem(head_pass: HeadPass) -> Tensor:
    """Fuad et al. 2020: a channel's weight is the share of its positions above mean + 2 std.

    For a position within rounding of that bound, the last bit of float32 decides, here and in the package.
    In 8,192 channels of SmallCNN there is one: below the bound in float64, as here; above it in the package.
    """
    activation = head_pass.values
    bound = activation.mean(_PLACES, keepdim=True) + 2 * activation.std(_PLACES, correction=0, keepdim=True)
    return combine((activation > bound).float().mean(_PLACES), activation)


def fullgrad(head_pass: HeadPass) -> Tensor:
    """Srinivas & Fleuret 2019, at the image's size: a full backward pass.

    Raises ValueError without images.
    """
    from pytorch_grad_cam import FullGrad
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, images = head_pass.network, head_pass.images
    if images is None:
        raise ValueError("fullgrad looks at the images again: give images, not an activation")
    if not isinstance(network, nn.Module):
        raise TypeError("fullgrad walks the layers: the network must be an nn.Module")
    # On a copy: the package hooks the layers and leaves gradients, and other threads may use this network.
    with torch.enable_grad(), FullGrad(copy.deepcopy(network), []) as method:
        maps = method(images.clone(), [ClassifierOutputTarget(int(t)) for t in head_pass.targets])
    return torch.from_numpy(maps).to(head_pass.activation.device)
