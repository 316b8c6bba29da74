"""Builds the spec of a job's child from the database."""

from __future__ import annotations

from sqlalchemy.orm import Session

from core.queries import datasets, jobs, registry
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.vocabulary import Arm, JobKind, Stage, stages_of
from worker.protocol import DatasetSpec, JudgedJobSpec, ModelSpec, Spec


def build_spec(session: Session, job: JobRow, *, slot: int) -> Spec:
    """Read what the job needs. Raises `NotFound` or `DatasetNotReady` if an input is gone."""
    mask_set, model_id = None, job.inputs.get("model")
    if job.inputs.get("mask_set"):
        mask_job = jobs.get(session, job.inputs["mask_set"])
        model_id = mask_job.inputs["model"]
        mask_set = mask_job.done[Stage.MASK]["artifact"]
    model = registry.get(session, model_id).id if model_id else None
    # The parameters may name a model too: the starting point of a training.
    named = (model, job.params.get("pretrained"))
    judged = _judged(session, job)
    names = [*(name for name in named if isinstance(name, str)), *job.models.values()]
    names += judged.models.values() if judged else ()
    return Spec(
        job_id=job.id,
        kind=job.kind,
        attempt=job.attempt,
        stages=tuple(stage for stage in stages_of(job.kind, job.params) if stage not in job.done),
        done=job.done,
        params=job.params,
        inputs=job.inputs,
        slot=slot,
        request_id=job.request_id,
        model=model,
        dataset=_dataset(session, job),
        mask_set=mask_set,
        models=_models(session, names),
        judged=judged,
    )


def _judged(session: Session, job: JobRow) -> JudgedJobSpec | None:
    if job.kind is not JobKind.EVALUATE or job.params.get("job") is None:
        return None
    judged = jobs.get(session, job.params["job"])
    trained_on = [datasets.get_ready(session, id).artifact for id in job.inputs["trained_on"]]
    return JudgedJobSpec(
        id=judged.id,
        report=judged.done[Stage.EVALUATE]["artifact"],
        models={Arm(arm): id for arm, id in job.inputs["judged"].items()},
        dataset=str(judged.dataset_id),
        trained_on=tuple(map(str, trained_on)),
    )


def _dataset(session: Session, job: JobRow) -> DatasetSpec | None:
    if job.dataset_id is None:
        return None
    importing = job.kind is JobKind.IMPORT
    row: DatasetRow = (datasets.get if importing else datasets.get_ready)(session, job.dataset_id)
    return DatasetSpec(
        id=row.id,
        name=row.name,
        source=row.source,
        artifact=row.artifact,
        classes=tuple(row.classes),
        shortcuts=(row.summary or {}).get("shortcuts"),
    )


def _models(session: Session, names: list[str]) -> dict[str, ModelSpec]:
    """These models and their ERM models, by id."""
    specs: dict[str, ModelSpec] = {}
    waiting = list(names)
    while waiting:
        row: ModelRow = registry.get(session, waiting.pop())
        if row.id not in specs:
            specs[row.id] = ModelSpec(
                id=row.id,
                arm=row.arm,
                artifact=row.artifact,
                erm_id=row.erm_id,
                job_id=row.job_id,
                classes=tuple(row.classes),
                backbone=row.backbone,
                calibration=row.calibration,
            )
            waiting += [row.erm_id] if row.erm_id else []
    return specs
