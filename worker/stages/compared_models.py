"""Which models a job compares."""

from __future__ import annotations

from typing import NamedTuple

from core.errors import JobError
from masktune.contract.vocabulary import CONTROLS, Arm, JobKind
from worker.results import ModelSpec, trained_models
from worker.stages.context import StageContext


class ComparedModels(NamedTuple):
    """The models by arm. `own`: those that the job trained or was given to evaluate; `all`: with the sources.

    A source is a model that an own one was made from; its arm is that of `arm_before`. The models of another
    job that are judged are all own.
    """

    own: dict[Arm, ModelSpec]
    all: dict[Arm, ModelSpec]


def compared_models(context: StageContext) -> ComparedModels:
    """The models of this job in the order of `Arm`: ERM, then the models made from it, then the controls.

    Raises JobError if a model's classes are not the data set's.
    """
    specs, judged_job = context.spec.models, context.spec.judged_job
    source = [specs[context.spec.model]] if context.spec.model else []
    own = {model.arm: model for model in trained_models(context.spec.done.values()) or source}
    partners = [specs[model.erm_id] for model in own.values() if model.erm_id and model.erm_id in specs]
    if context.spec.kind is JobKind.RETRAIN_HEAD and context.spec.model:
        partners.append(specs[context.spec.model])  # its backbone may be a MaskTune model's
    everything = {arm_before(partner): partner for partner in partners} | own
    if judged_job is not None:
        own = everything = {arm: specs[id] for arm, id in judged_job.models.items()}
    for model in everything.values():
        if model.classes != context.store.classes:  # its answers would be counted wrongly
            raise JobError(
                "model_of_another_dataset",
                f"model {model.id} has the classes {', '.join(model.classes)}, but the data set has "
                f"{', '.join(context.store.classes)}; use a data set with the same classes",
            )
    order = [arm for arm in Arm if arm in everything]
    return ComparedModels(
        {arm: own[arm] for arm in order if arm in own}, {arm: everything[arm] for arm in order}
    )


def arm_before(model: ModelSpec) -> Arm:
    """The arm under which a source model is compared. The control of another job is not this job's control,
    and an earlier retrained head is not its treatment arm: both are the `BASELINE`."""
    return Arm.BASELINE if model.arm in (*CONTROLS, Arm.RETRAINED) else model.arm
