"""Whether networks run in this process at all."""

from __future__ import annotations

from core.loading import loading


def check_forward(device: str) -> None:
    """Raise unless a real forward pass works in this process, on this device (a setting's name).

    The first call imports torch: seconds.
    """
    with loading():
        from app.inference.engine import probe

    probe(device)
