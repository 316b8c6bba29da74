"""FullGrad, by the grad-cam package: it runs the whole network again."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from models.saliency.head_pass import HeadPass


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
