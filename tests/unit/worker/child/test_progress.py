"""The progress of a job only rises, and ends at 1."""

from __future__ import annotations

from dataclasses import replace

import pytest

from masktune.contract.hyperparameters import MitigateConfig
from masktune.contract.job_params import PredictParams
from masktune.contract.vocabulary import STAGES, JobKind, Stage, stages_of
from models.run import Progress
from worker.child.runner import JobProgress

PARAMS = MitigateConfig(epochs=3, seeds=2)


@pytest.mark.parametrize("kind", STAGES)
def test_fractions_rise_from_zero_to_one(kind: JobKind) -> None:
    trains = kind in (JobKind.MITIGATE, JobKind.ERM, JobKind.FINETUNE, JobKind.MASKTUNE)
    job_progress = JobProgress(PARAMS if trains else PredictParams(), STAGES[kind], STAGES[kind])
    seen = []
    for stage in STAGES[kind]:
        for epoch in range(3):
            for step in range(4):
                seen.append(job_progress.report(stage, Progress(epoch, 3, step, 4, 10.0)).fraction)
        seen.append(job_progress.finished(stage).fraction)
    assert seen[0] == 0.0
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_an_attempt_starts_where_the_finished_stages_end() -> None:
    stages = STAGES[JobKind.MASKTUNE]
    whole = JobProgress(PARAMS, stages, stages)
    whole.finished(Stage.ERM)
    resumed = JobProgress(PARAMS, stages, stages[1:])
    first = Progress(0, 1, 0, 4, 0.0)
    assert resumed.report(Stage.MASK, first).fraction == whole.report(Stage.MASK, first).fraction


def test_a_job_without_control_reaches_one_too() -> None:
    params = replace(PARAMS, control=False)
    stages = stages_of(JobKind.MASKTUNE, params.to_json())
    assert Stage.CONTROL not in stages
    job_progress = JobProgress(params, stages, stages)
    assert job_progress.report(stages[0], Progress(0, 3, 0, 4, 0.0)).fraction == 0.0
    assert [job_progress.finished(s).fraction for s in stages][-1] == pytest.approx(1.0)


def test_without_a_pace_there_is_no_estimate() -> None:
    job_progress = JobProgress(PredictParams(), STAGES[JobKind.PREDICT], STAGES[JobKind.PREDICT])
    assert job_progress.report(Stage.PREDICT, Progress(0, 1, 0, 4, 0.0)).eta_seconds is None
    eta = job_progress.report(Stage.PREDICT, Progress(0, 1, 2, 4, 0.0)).eta_seconds
    assert eta is not None
    assert eta >= 0
