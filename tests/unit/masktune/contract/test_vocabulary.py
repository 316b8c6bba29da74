"""Which stages a job has follows from its parameters."""

from __future__ import annotations

from typing import Any

import pytest

from masktune.contract.hyperparameters import MitigateConfig
from masktune.contract.hyperparameters.parameters import ConfigError
from masktune.contract.vocabulary import STAGES, JobKind, Stage, stages_of


def test_a_mitigation_has_every_stage_only_with_several_seeds() -> None:
    stages = stages_of(JobKind.MITIGATE, MitigateConfig(seeds=2).to_json())
    assert stages == STAGES[JobKind.MITIGATE]
    assert stages_of(JobKind.MITIGATE, MitigateConfig().to_json()) == tuple(
        stage for stage in stages if stage is not Stage.REPEAT
    )
    without = stages_of(JobKind.MITIGATE, MitigateConfig(masktune=False, control=False, seeds=2).to_json())
    assert without == (
        Stage.ERM,
        Stage.INFER_GROUPS,
        Stage.RETRAIN_HEAD,
        Stage.REPEAT,
        Stage.CALIBRATE,
        Stage.EVALUATE,
    )


def test_the_further_seeds_follow_the_first() -> None:
    assert list(MitigateConfig(seed=4, seeds=3).further_seeds) == [5, 6]
    assert not MitigateConfig(seed=4).further_seeds


@pytest.mark.parametrize(("pointer", "params"), [("/gpus", {"gpus": 2}), ("/seed", {"seed": 2**63 - 2})])
def test_several_seeds_need_one_device_and_room_above_the_first(pointer: str, params: dict[str, Any]) -> None:
    MitigateConfig(**params)
    with pytest.raises(ConfigError) as refused:
        MitigateConfig(**params, seeds=3)
    assert refused.value.pointer == pointer
