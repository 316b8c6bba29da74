"""The progress of a job only rises, and ends at 1; what is left follows from what is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from masktune.contract.hyperparameters import MitigateConfig
from masktune.contract.job_params import PredictParams
from masktune.contract.vocabulary import STAGES, Arm, JobKind, Stage, stages_of
from models.run import Progress
from worker.child.runner import Cost, JobProgress, _costs
from worker.context import StageContext

PARAMS = MitigateConfig(epochs=3, seeds=2)
SPLITS = {"train": 600, "val": 100, "calibration": 100, "test": 200}
TWO: dict[Stage, Cost] = {Stage.ERM: (100.0, 0.0), Stage.RETRAIN_HEAD: (0.0, 10.0)}


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass, which otherwise stand still."""
    now = [1000.0]
    monkeypatch.setattr("worker.child.runner.time", SimpleNamespace(monotonic=lambda: now[0]))

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def costs_of(kind: JobKind, **changes: Any) -> dict[Stage, Cost]:
    trains = kind in (JobKind.MITIGATE, JobKind.ERM, JobKind.FINETUNE, JobKind.MASKTUNE)
    params = replace(PARAMS, **changes) if trains else PredictParams()
    arms = {arm: arm.value for arm in Arm}
    context = SimpleNamespace(
        spec=SimpleNamespace(params=params, model_ids=arms),
        store=SimpleNamespace(counts=SPLITS, classes=("a", "b")),
        infers_groups=True,
    )
    stages = stages_of(kind, params.to_json() if isinstance(params, MitigateConfig) else {})
    return dict(_costs(cast(StageContext, context), stages))


def part(number: int, of: int) -> Progress:
    return Progress(0, 1, number, of, 0.0)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", STAGES)
def test_fractions_rise_from_zero_to_one(kind: JobKind, frozen: bool, wait: Callable[[float], None]) -> None:
    costs = costs_of(kind, freeze_backbone=frozen, pretrained=True)
    job_progress, seen = JobProgress(costs, {}), []
    for stage in costs:
        for epoch in range(3):
            for step in range(4):
                seen.append(job_progress.report(stage, Progress(epoch, 3, step, 4, 10.0)).fraction)
                wait(1.0 + step)
        seen.append(job_progress.finished(stage).fraction)
    assert seen[0] == 0.0
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_an_attempt_starts_where_the_finished_stages_end(wait: Callable[[float], None]) -> None:
    costs = costs_of(JobKind.MASKTUNE)
    whole = JobProgress(costs, {})
    wait(40.0)
    whole.finished(Stage.ERM)
    resumed = JobProgress(costs, {Stage.ERM: 40.0})
    assert resumed.report(Stage.MASK, part(0, 4)).fraction == whole.report(Stage.MASK, part(0, 4)).fraction


def test_a_job_without_control_has_no_cost_of_it() -> None:
    assert Stage.CONTROL in costs_of(JobKind.MASKTUNE)
    assert Stage.CONTROL not in costs_of(JobKind.MASKTUNE, control=False)


def test_a_further_seed_costs_what_the_first_one_does() -> None:
    costs = costs_of(JobKind.MITIGATE, seeds=3)
    before = list(costs.values())[: list(costs).index(Stage.REPEAT)]
    assert costs[Stage.REPEAT] == (2 * sum(images for images, _ in before), 0.0)


def test_what_is_left_is_not_known_at_the_beginning(wait: Callable[[float], None]) -> None:
    job_progress = JobProgress(TWO, {})
    wait(10.0)
    assert job_progress.report(Stage.ERM, part(0, 4)).eta_seconds is None


def test_the_clock_starts_with_the_stage_and_not_with_its_first_report(wait: Callable[[float], None]) -> None:
    job_progress = JobProgress({Stage.PREDICT: (1.0, 0.0)}, {})
    wait(10.0)
    assert job_progress.report(Stage.PREDICT, part(1, 4)).eta_seconds == 30.0


def test_what_is_left_of_each_kind_goes_by_its_own_pace(wait: Callable[[float], None]) -> None:
    """Fits take the same whatever the network, and passes do not take longer because fits did."""
    costs = TWO | {Stage.EVALUATE: (50.0, 0.0)}
    job_progress = JobProgress(costs, {})
    wait(20.0)
    assert job_progress.finished(Stage.ERM).eta_seconds == 10.0 + 10.0  # fits as measured elsewhere
    wait(45.0)  # for what takes 5 elsewhere, beside which 3 count that took 3: six times as long
    assert job_progress.report(Stage.RETRAIN_HEAD, part(1, 2)).eta_seconds == 5 * 6.0 + 10.0
    job_progress.finished(Stage.RETRAIN_HEAD)
    assert job_progress.report(Stage.EVALUATE, part(0, 2)).eta_seconds == 10.0


def test_one_slow_step_of_a_fit_tells_little_of_the_next(wait: Callable[[float], None]) -> None:
    job_progress = JobProgress(TWO, {})
    job_progress.finished(Stage.ERM)
    wait(3.0)
    left = job_progress.report(Stage.RETRAIN_HEAD, part(1, 100)).eta_seconds
    assert left is not None
    assert left < 20.0  # and not the 297 of a hundred such


def test_the_slower_a_pass_the_smaller_the_share_of_fits(wait: Callable[[float], None]) -> None:
    fractions = []
    for seconds in (1.0, 10.0, 100.0):
        job_progress = JobProgress(TWO, {})
        wait(seconds)
        fractions.append(job_progress.finished(Stage.ERM).fraction)
    assert fractions == [pytest.approx(seconds / (seconds + 10), abs=1e-4) for seconds in (1, 10, 100)]
