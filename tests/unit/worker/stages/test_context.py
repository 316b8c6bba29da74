"""What a stage reads of its job."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig
from masktune.contract.vocabulary import JobKind, Stage
from worker.stages.context import StageContext


@pytest.mark.parametrize(
    ("chosen", "masking"),
    [
        ({"sigmas": 0.75, "iterations": 3}, (0.75, 3)),
        (None, ("auto", 1)),
    ],
)
def test_what_the_mask_stage_chose_holds_for_the_stages_after_it(
    chosen: dict[str, Any] | None, masking: tuple[float | str, int]
) -> None:
    params = Hyperparameters(masking=MaskingConfig(sigmas="auto")).to_json()
    spec: Any = SimpleNamespace(kind=JobKind.MASKTUNE, params=params, done={Stage.MASK: {"sigmas": chosen}})
    parts: Any = dict.fromkeys(
        ("settings", "artifacts", "workspace", "device", "threads", "on_progress", "should_stop", "log")
    )
    resolved = StageContext(spec=spec, stage=Stage.FINETUNE, **parts).params.masking
    assert (resolved.sigmas, resolved.iterations) == masking
