"""In which type of floats a network is trained, and judged while it is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import torch

from models.config import Precision


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """bfloat16 where asked for, and by default on a card that has it."""
    enabled = precision == "bf16" or (precision == "auto" and _has_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@cache
def _has_bfloat16(device: torch.device) -> bool:
    """In hardware. On an older card cuDNN has no bfloat16, and torch's own convolutions are far slower than
    those of float32.
    """
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
