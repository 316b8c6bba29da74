"""What a stage reads of its job."""

from __future__ import annotations

from typing import Any

import pytest

from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig
from masktune.contract.vocabulary import JobKind, Stage
from models.masking.summaries import MaskSetSummary, SigmasChoice
from worker.context import StageContext
from worker.protocol import Spec
from worker.results import MaskResult


@pytest.mark.parametrize(
    ("chosen", "masking"),
    [
        (SigmasChoice(0.75, "plateau", 100, iterations=3), (0.75, 3)),
        (None, ("auto", 1)),
    ],
)
def test_what_the_mask_stage_chose_holds_for_the_stages_after_it(
    chosen: SigmasChoice | None, masking: tuple[float | str, int]
) -> None:
    masks = MaskResult(artifact="m", summary=MaskSetSummary(1, 0.1, 0, 0, 1.0, 1.0), sigmas=chosen)
    spec = Spec(
        job_id="job_1",
        kind=JobKind.MASKTUNE,
        attempt=1,
        stages=(Stage.FINETUNE,),
        done={Stage.MASK: masks},
        params=Hyperparameters(masking=MaskingConfig(sigmas="auto")),
    )
    parts: Any = dict.fromkeys(
        ("settings", "artifacts", "workspace", "device", "threads", "on_progress", "should_stop", "log")
    )
    resolved = StageContext(spec=spec, stage=Stage.FINETUNE, **parts).params.masking
    assert (resolved.sigmas, resolved.iterations) == masking
