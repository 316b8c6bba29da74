"""Several cards for one job: which it takes, and when it is told that it cannot have them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.errors import JobError
from core.settings import Settings
from worker.child import runner as job
from worker.child.ranks import check_devices

CARD = "cuda:0"


@pytest.fixture(autouse=True)
def _four_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name in ("MASKTUNE_DEVICE", "MASKTUNE_WORKER_SLOTS", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_cards_that_the_host_has_and_nobody_shares(tmp_path: Path) -> None:
    check_devices(4, CARD, Settings(data_dir=tmp_path))
    check_devices(9, "cpu", Settings(data_dir=tmp_path))


@pytest.mark.parametrize(
    ("count", "settings", "said"),
    [
        (5, {}, "this worker has 4"),
        (2, {"device": "cuda:1"}, "gives each job one"),
        (2, {"worker_slots": 2}, "gives each job one"),
    ],
)
def test_cards_that_it_cannot_have(
    tmp_path: Path, count: int, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(JobError, match=said) as refused:
        check_devices(count, CARD, Settings.model_validate({"data_dir": tmp_path, **settings}))
    assert refused.value.reason == "not_enough_gpus"


def test_a_rank_has_its_own_card_and_a_slot_one_of_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [job.device_of_slot("cuda", slot) for slot in (0, 3, 5)] == ["cuda:0", "cuda:3", "cuda:1"]
    assert job.device_of_slot("cuda:2", 3) == "cuda:2"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert job.device_of_slot("cuda", 3) == "cuda:1"
    assert job.device_of_slot("cpu", 3) == "cpu"
