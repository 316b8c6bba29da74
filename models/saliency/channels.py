"""Methods that weight channels or positions by the head's gradient. Cost: one pass over the activation.

Each takes an Evidence and returns signed maps (B, h, w); the caller applies the ReLU. Constants are
those of the grad-cam package 1.5.7, whose maps these equal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.saliency.evidence import Evidence, target_logit

_PLACES = (2, 3)


def combine(weights: Tensor, activation: Tensor) -> Tensor:
    """Σ over channels of weight (B, C) × activation (B, C, h, w), as one batched product → (B, h, w)."""
    b, _, h, w = activation.shape
    # A row times a matrix: `flatten` copies in neither memory format, and with channels last a matrix
    # times a column costs 5 to 12 times as much.
    return torch.bmm(weights[:, None, :], activation.flatten(2)).reshape(b, h, w)


def gradcam(evidence: Evidence) -> Tensor:
    """Selvaraju et al. 2017: a channel's weight is its mean gradient. Linear head: closed form."""
    return combine(evidence.gradient().mean(_PLACES), evidence.values)


def xgradcam(evidence: Evidence) -> Tensor:
    """Fu et al. 2020: a channel's weight is its activation-weighted gradient. Linear head: closed form."""
    activation = evidence.values
    total = activation.sum(_PLACES)
    if evidence.network.linear is not None:  # the gradient is the same at every position
        return combine(evidence.gradient()[:, :, 0, 0] * (total / (total + 1e-7)), activation)
    return combine(evidence.summed_gradient_times_values() / (total + 1e-7), activation)


def hirescam(evidence: Evidence) -> Tensor:
    """Draelos & Carin 2020: gradient × activation at each position."""
    return (evidence.gradient() * evidence.values).sum(1)


def gradcam_elementwise(evidence: Evidence) -> Tensor:
    """HiResCAM with a ReLU before the channels are added."""
    return (evidence.gradient() * evidence.values).clamp_min(0).sum(1)


def layercam(evidence: Evidence) -> Tensor:
    """Jiang et al. 2021: positive gradient × activation at each position."""
    return (evidence.gradient().clamp_min(0) * evidence.values).sum(1)


def gradcam_plusplus(evidence: Evidence) -> Tensor:
    """Chattopadhay et al. 2018, equation 19."""
    activation, gradient = evidence.values, evidence.gradient()
    square = gradient**2
    total = activation.sum(_PLACES, keepdim=True)
    alpha = square / (2 * square + total * (square * gradient) + 1e-6)
    alpha = torch.where(gradient != 0, alpha, 0)
    return combine((gradient.clamp_min(0) * alpha).sum(_PLACES), activation)


def finercam(evidence: Evidence) -> Tensor:
    """Zhang et al. 2025: GradCAM of the target against the three classes nearest to it (alpha 1)."""
    return combine(evidence.gradient(_finer_objective).mean(_PLACES), evidence.values)


def _finer_objective(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of (target logit − rival logit) over the rivals, weighted by their probabilities."""
    own = target_logit(logits, targets)[:, None]
    distance = (logits.detach() - own.detach()).abs().scatter(1, targets[:, None], -1)
    rivals = distance.argsort(dim=1, stable=True)[:, 1:4]
    weights = logits.softmax(1).gather(1, rivals)
    return (weights * (own - logits.gather(1, rivals))).sum(1) / (weights.sum(1) + 1e-9)


def shapleycam(evidence: Evidence) -> Tensor:
    """Cai 2025 (arXiv 2501.06261): GradCAM of gradient − ½ Hessian·activation; the Hessian is the head's.

    A linear or piecewise linear head has no second derivative, so the map equals GradCAM's.
    """
    if evidence.piecewise_linear:
        return gradcam(evidence)
    with torch.enable_grad():
        total = target_logit(evidence.logits, evidence.targets).sum()
        (gradient,) = torch.autograd.grad(total, evidence.activation, create_graph=True)
        curvature = None
        if gradient.requires_grad:
            (curvature,) = torch.autograd.grad(
                gradient, evidence.activation, grad_outputs=evidence.activation.detach(), allow_unused=True
            )
    weights = gradient.detach() if curvature is None else gradient.detach() - 0.5 * curvature.detach()
    values = evidence.values
    return combine(weights.mean(_PLACES)[:, : values.shape[1]], values)


def randomcam(evidence: Evidence) -> Tensor:
    """A baseline: one weight per channel for all images, uniform in (-1, 1), drawn from the seed."""
    generator = torch.Generator().manual_seed(evidence.seed)
    activation = evidence.values
    weights = torch.rand(activation.shape[1], generator=generator) * 2 - 1
    return combine(weights.to(activation.device).expand(len(activation), -1), activation)


def fem(evidence: Evidence) -> Tensor:
    """Fuad et al. 2020: a channel's weight is the share of its positions above mean + 2 std.

    For a position within rounding of that bound, the last bit of float32 decides, here and in the package.
    In 8,192 channels of SmallCNN there is one: below the bound in float64, as here; above it in the package.
    """
    activation = evidence.values
    bound = activation.mean(_PLACES, keepdim=True) + 2 * activation.std(_PLACES, correction=0, keepdim=True)
    return combine((activation > bound).float().mean(_PLACES), activation)
