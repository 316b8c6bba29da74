"""Methods that project onto a principal component. Cost: one small decomposition per image, on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.saliency.head_pass import HeadPass


def eigencam(head_pass: HeadPass) -> Tensor:
    """Muhammad & Yeasin 2020: the activation's first component, with LAPACK's sign, as in the package."""
    return _first_component(head_pass.values)


def eigengradcam(head_pass: HeadPass) -> Tensor:
    """EigenCAM of gradient × activation."""
    return _first_component(head_pass.gradient() * head_pass.values)


def segeigencam(head_pass: HeadPass) -> Tensor:
    """Chung & Ying 2025: EigenCAM of |gradient| × activation; the sign makes the larger side positive."""
    projection = _first_component(head_pass.gradient().abs() * head_pass.values)
    low, high = projection.flatten(1).amin(1), projection.flatten(1).amax(1)
    return torch.where((low.abs() > high.abs())[:, None, None], -projection, projection)


def kpcacam(head_pass: HeadPass) -> Tensor:
    """Karmani et al. 2024: the first component of kernel PCA (kernel tanh(⟨x, y⟩ / C + 1)), in float64."""
    activation = head_pass.values
    b, c, h, w = activation.shape
    points = _centred(activation).double().cpu()  # (B, h·w, C)
    kernel = torch.tanh(points @ points.mT / c + 1)
    kernel = kernel - kernel.mean(1, keepdim=True) - kernel.mean(2, keepdim=True) + kernel.mean((1, 2), True)
    values, vectors = torch.linalg.eigh(kernel)
    first = vectors[:, :, -1]
    sign = first.gather(1, first.abs().argmax(1, keepdim=True)).sign()
    projection = first * sign * values[:, -1:].clamp_min(0).sqrt()
    return _refuse_non_finite(projection.float().reshape(b, h, w).to(activation.device), activation)


def _centred(tensor: Tensor) -> Tensor:
    """(B, C, h, w) → positions × channels (B, h·w, C), centred per channel; non-finite values as zero."""
    points = torch.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0).flatten(2).mT
    return points - points.mean(1, keepdim=True)


def _first_component(tensor: Tensor) -> Tensor:
    """Positions projected onto the first right singular vector, (B, h, w)."""
    finite = torch.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0).cpu()
    places = finite.contiguous(memory_format=torch.contiguous_format).flatten(2).numpy().transpose(0, 2, 1)
    # numpy's mean and LAPACK, as in the package. LAPACK chooses the sign of a singular vector, and with dead
    # channels the last bit of their mean decides it: torch's mean flipped 16 of 256 maps of SmallCNN.
    points = places - places.mean(axis=1, keepdims=True)
    first = np.linalg.svd(points, full_matrices=False).Vh[:, 0, :]
    projection = np.einsum("bpc,bc->bp", points, first)
    b, _, h, w = tensor.shape
    maps = torch.from_numpy(np.ascontiguousarray(projection, np.float32)).reshape(b, h, w)
    return _refuse_non_finite(maps.to(tensor.device), tensor)


def _refuse_non_finite(maps: Tensor, source: Tensor) -> Tensor:
    """NaN maps for images whose source was not finite: they mask nothing and are counted."""
    finite = torch.isfinite(source).flatten(1).all(1)
    return torch.where(finite[:, None, None], maps, torch.nan)
