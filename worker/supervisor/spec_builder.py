"""Builds the spec of a job's child from the database."""

from __future__ import annotations

from sqlalchemy.orm import Session

from core.queries import datasets, jobs, registry
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.vocabulary import STAGES, JobKind, Stage
from worker.protocol import DatasetSpec, MaskSetSpec, ModelSpec, Spec


def build_spec(session: Session, job: JobRow, *, slot: int) -> Spec:
    """Read what the job needs. Raises `NotFound` or `DatasetNotReady` if an input is gone."""
    mask_set = _mask_set(session, job)
    model_id = mask_set.model_id if mask_set else job.inputs.get("model")
    model = registry.get(session, model_id).id if model_id else None
    names = [*filter(None, [model]), *job.models.values(), *_named(job)]
    return Spec(
        job_id=job.id,
        kind=job.kind,
        attempt=job.attempt,
        stages=tuple(s for s in STAGES[job.kind] if s not in job.done and _is_to_run(s, job)),
        done=job.done,
        params=job.params,
        inputs=job.inputs,
        slot=slot,
        request_id=job.request_id,
        model=model,
        dataset=_dataset(session, job),
        mask_set=mask_set,
        models=_models(session, names),
    )


def _is_to_run(stage: Stage, job: JobRow) -> bool:
    """Whether to run the stage: the control can be switched off, the others cannot."""
    return stage is not Stage.CONTROL or bool(job.params.get("control", True))


def _dataset(session: Session, job: JobRow) -> DatasetSpec | None:
    if job.dataset_id is None:
        return None
    importing = job.kind is JobKind.IMPORT
    row: DatasetRow = (datasets.get if importing else datasets.get_ready)(session, job.dataset_id)
    return DatasetSpec(
        id=row.id,
        name=row.name,
        format=row.format,
        source=row.source,
        options=row.options,
        artifact=row.artifact,
        classes=tuple(row.classes),
        shortcuts=(row.summary or {}).get("shortcuts"),
    )


def _mask_set(session: Session, job: JobRow) -> MaskSetSpec | None:
    name = job.inputs.get("mask_set")
    if name is None:
        return None
    maker = jobs.get(session, name)
    return MaskSetSpec(maker.id, maker.done[Stage.MASK]["artifact"], maker.inputs["model"])


def _named(job: JobRow) -> list[str]:
    """Ids of the models named in the parameters: the starting point of a training, and the second model."""
    named = (job.params.get("pretrained"), job.params.get("second_model"))
    return [name for name in named if isinstance(name, str)]


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
                dataset_id=row.dataset_id,
                classes=tuple(row.classes),
                backbone=row.backbone,
                calibration=row.calibration,
            )
            waiting += [row.erm_id] if row.erm_id else []
    return specs
