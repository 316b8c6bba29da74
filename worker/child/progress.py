"""The progress of a whole job: its stages, weighted by their cost in passes over the training set."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from masktune.contract.hyperparameters import Hyperparameters, MitigateConfig
from masktune.contract.job_params import AnyParams
from masktune.contract.vocabulary import Stage
from models.run import Progress
from worker.protocol import ProgressReport


def _finetune(params: Hyperparameters, *, frozen: float) -> float:
    """A training step costs about three forward passes: one forward, and a backward worth two.

    With a frozen backbone, the steps cost next to nothing once the features are there.
    """
    return params.masking.iterations * (frozen if params.freeze_backbone else 3.0 * params.finetune.epochs)


def _costs(params: AnyParams, stages: Sequence[Stage]) -> dict[Stage, float]:
    """Those of a job's stages, in passes where it trains, else all alike.

    `repeat` takes what the stages before it take, for each further seed; the features of a frozen backbone
    are there by then.
    """
    if not isinstance(params, Hyperparameters):
        return dict.fromkeys(stages, 1.0)
    costs: dict[Stage, float] = {}
    for stage in stages:
        if stage is Stage.REPEAT and isinstance(params, MitigateConfig):
            once = costs | ({Stage.ERM: 0.3} if params.freeze_backbone else {})
            costs[stage] = len(params.further_seeds) * sum(once.values())
        else:
            costs[stage] = _PASSES[stage](params)
    return costs


_PASSES: Mapping[Stage, Callable[[Hyperparameters], float]] = {
    Stage.ERM: lambda params: 1.3 if params.freeze_backbone else 3.0 * params.epochs,
    Stage.INFER_GROUPS: lambda params: 0.7 if params.freeze_backbone else 1.5,
    Stage.RETRAIN_HEAD: lambda _: 0.2,
    Stage.HEAD_CONTROL: lambda _: 0.1,
    Stage.MASK: lambda _: 1.0,
    Stage.FINETUNE: lambda params: _finetune(params, frozen=1.0),
    Stage.CONTROL: lambda params: _finetune(params, frozen=0.1),
    Stage.CALIBRATE: lambda _: 0.5,
    Stage.EVALUATE: lambda _: 1.5,
}


class JobProgress:
    """Turns the progress of a stage into the progress of the job, which never falls.

    A stage may pass over the images more than once: it computes features, then trains on them.
    """

    def __init__(self, params: AnyParams, stages: Sequence[Stage], remaining: Sequence[Stage]) -> None:
        """Of a job with these `stages`, of which some are `remaining`."""
        costs = _costs(params, stages)
        total = sum(costs.values())
        self._share = {stage: cost / total for stage, cost in costs.items()}
        self._before = 1.0 - sum(self._share[stage] for stage in remaining)
        self._start, self._started_at = self._before, time.monotonic()
        self._stage_fraction = 0.0

    def report(self, stage: Stage, progress: Progress, *, advanced: bool = False) -> ProgressReport:
        """The message about the progress of this stage; `advanced`: work was checkpointed."""
        done = progress.epoch + (progress.step / progress.steps if progress.steps else 0.0)
        stage_fraction = min(1.0, done / progress.epochs) if progress.epochs else 0.0
        self._stage_fraction = stage_fraction = max(self._stage_fraction, stage_fraction)
        fraction = min(1.0, self._before + self._share[stage] * stage_fraction)
        gained, eta = fraction - self._start, None
        if gained >= 0.005:  # at the pace of this attempt, which is unknown until then
            eta = round((time.monotonic() - self._started_at) * (1.0 - fraction) / gained, 1)
        return ProgressReport(
            fraction=round(fraction, 4),
            stage=stage,
            stage_fraction=round(stage_fraction, 4),
            epoch=progress.epoch,
            epochs=progress.epochs,
            step=progress.step,
            steps=progress.steps,
            images_per_second=round(progress.images_per_second, 1),
            eta_seconds=eta,
            metrics=dict(progress.metrics),
            advanced=advanced,
        )

    def finished(self, stage: Stage) -> ProgressReport:
        """The message about a stage that has just finished."""
        last = self.report(stage, Progress(1, 1, 0, 1, 0.0))
        self._before = min(1.0, self._before + self._share[stage])
        self._stage_fraction = 0.0
        return last
