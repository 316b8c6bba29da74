"""From the host to the device, with no wait for what the device is doing."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """On `device`. From pinned memory, for from any other a card is waited for where it is over 64 KiB."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
