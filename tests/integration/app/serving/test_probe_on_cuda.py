"""The forward pass on the card, which readiness rests on."""

from __future__ import annotations

import pytest
import torch

from app.inference.engines.torch import probe
from tests.support.pretend_cuda import pretended_card


def test_the_probe_asks_the_card_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error that stays with the process, every prediction fails: it must not be called ready."""
    with pretended_card(monkeypatch) as card:
        probe("cuda")
        assert card.waits  # for the scores

    def fallen(*args: object, **kwargs: object) -> bool:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    probe("cpu")
    with pretended_card(monkeypatch), monkeypatch.context() as patch:
        patch.setattr(torch.nn.Module, "to", fallen)
        with pytest.raises(RuntimeError, match="illegal memory access"):
            probe("cuda")
