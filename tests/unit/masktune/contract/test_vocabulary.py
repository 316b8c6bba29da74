"""Which stages a job has follows from its parameters."""

from __future__ import annotations

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


def test_several_seeds_need_room_above_the_first() -> None:
    MitigateConfig(seed=2**63 - 2)
    with pytest.raises(ConfigError) as refused:
        MitigateConfig(seed=2**63 - 2, seeds=3)
    assert refused.value.pointer == "/seed"
