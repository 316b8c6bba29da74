"""The floating-point type for training, and for validation during training."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import torch

from masktune.contract.hyperparameters import Precision


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """bfloat16 if requested, and by default on a GPU that supports it in hardware."""
    enabled = precision == "bf16" or (precision == "auto" and _has_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@cache
def _has_bfloat16(device: torch.device) -> bool:
    """Hardware support only: on older GPUs cuDNN has no bfloat16, and torch's own bfloat16 convolutions are
    far slower than float32.
    """
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
