"""Checks whether networks can run in this process."""

from __future__ import annotations

from core.loading import loading


def check_forward(device: str) -> None:
    """Raise unless a real forward pass works in this process on this device (named as in the settings).

    The first call imports torch, which takes seconds.
    """
    with loading():
        from app.inference.engines.torch import probe

    probe(device)
