"""Which of the host's cards a slot uses."""

from __future__ import annotations

import pytest
import torch

from worker.child.runner import device_of_slot


def test_a_slot_has_one_of_the_hosts_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [device_of_slot("cuda", slot) for slot in (0, 3, 5)] == ["cuda:0", "cuda:3", "cuda:1"]
    assert device_of_slot("cuda:2", 3) == "cuda:2"
    assert device_of_slot("cpu", 3) == "cpu"
