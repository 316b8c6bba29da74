"""Methods that run the network again: exact and slow, for explaining single images."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from models.saliency.channels import combine
from models.saliency.head_pass import HeadPass, target_logit

_CHUNK = 64  # perturbed copies in one forward pass: bounds the memory


def scorecam(head_pass: HeadPass) -> Tensor:
    """Wang et al. 2020: a channel's weight is the score of the image seen through it.

    Cost: C forward passes per image.
    """
    images, network = _images(head_pass), head_pass.network
    activation = head_pass.values
    weights = torch.empty(activation.shape[:2], device=activation.device)
    for i, image in enumerate(images):
        for start in range(0, activation.shape[1], _CHUNK):
            window = _windows(activation[i, start : start + _CHUNK], image.shape[-2:])
            logits = network.head(network.features(image * window[:, None]).float())
            weights[i, start : start + _CHUNK] = logits[:, head_pass.targets[i]]
    return combine(weights.softmax(1), activation)


def _windows(channels: Tensor, size: torch.Size) -> Tensor:
    """Channels (n, h, w) → (n, H, W): upsampled to the image's size and scaled to 0..1."""
    # With aligned corners, unlike the mask, as in the paper's code and the package.
    large = nn.functional.interpolate(channels[None], size=size, mode="bilinear", align_corners=True)[0]
    low = large.amin((1, 2), keepdim=True)
    return (large - low) / (large.amax((1, 2), keepdim=True) - low + 1e-8)


def ablationcam(head_pass: HeadPass) -> Tensor:
    """Desai & Ramaswamy 2020: a channel's weight is the share of the logit that is lost without it.

    Cost: C passes of the head per image; closed form for a linear head. Unlike the package, this always
    ablates with 0: the package takes about −1e7 if the activation's minimum is not exactly 0, and its
    result then depends on its batch size.
    """
    activation = head_pass.values
    whole = target_logit(head_pass.logits.detach(), head_pass.targets)  # (B,)
    linear = head_pass.network.linear
    if linear is not None:
        lost = linear.weight[head_pass.targets].float() * activation.mean((2, 3))
    else:
        lost = torch.stack([_lost(head_pass, i, whole[i]) for i in range(len(activation))])
    return combine(lost / whole[:, None], activation)


def _lost(head_pass: HeadPass, index: int, whole: Tensor) -> Tensor:
    """How much the target logit of one image drops without each channel, (C,)."""
    activation = head_pass.activation.detach()[index]
    channels = head_pass.values.shape[1]
    without = torch.empty(channels, device=activation.device)
    for start in range(0, channels, _CHUNK):
        picked = torch.arange(start, min(start + _CHUNK, channels), device=activation.device)
        copies = activation.expand(len(picked), *activation.shape).clone()
        copies[torch.arange(len(picked)), picked] = 0
        without[picked] = head_pass.network.head(copies)[:, head_pass.targets[index]]
    return whole - without


def fullgrad(head_pass: HeadPass) -> Tensor:
    """Srinivas & Fleuret 2019, at the image's size, by the grad-cam package: a full backward pass."""
    from pytorch_grad_cam import FullGrad
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = head_pass.network
    if not isinstance(network, nn.Module):
        raise TypeError("fullgrad walks the layers: the network must be an nn.Module")
    # On a copy: the package hooks the layers and leaves gradients, and other threads may use this network.
    with torch.enable_grad(), FullGrad(copy.deepcopy(network), []) as method:
        maps = method(_images(head_pass).clone(), [ClassifierOutputTarget(int(t)) for t in head_pass.targets])
    return torch.from_numpy(maps).to(head_pass.activation.device)


def _images(head_pass: HeadPass) -> Tensor:
    if head_pass.images is None:
        raise ValueError("this method looks at the images again: give images, not an activation")
    return head_pass.images
