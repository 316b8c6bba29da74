"""Builds the spec of a job's child from the database."""

from __future__ import annotations

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from core.queries import datasets, jobs, registry
from core.tables import BackboneRow, DatasetRow, JobRow, ModelRow
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.image_answers import ImageAnswers
from masktune.contract.job_params import AnyParams, EvaluateParams, params_of
from masktune.contract.vocabulary import Arm, JobKind, Stage, stages_of
from worker.protocol import DatasetSpec, JudgedJobSpec, Spec
from worker.results import Calibration, ModelSpec, PatternJudgeSpec, result_from_json

_CALIBRATION: TypeAdapter[Calibration | None] = TypeAdapter(Calibration | None)
_PATTERN_JUDGE: TypeAdapter[PatternJudgeSpec | None] = TypeAdapter(PatternJudgeSpec | None)
_ANSWERS: TypeAdapter[ImageAnswers | None] = TypeAdapter(ImageAnswers | None)


def build_spec(session: Session, job: JobRow, *, slot: int) -> Spec:
    """Read what the job needs.
    Raises `NotFound` or `DatasetNotReady` if an input is gone."""
    params, mask_set, model_id = params_of(job.kind, job.params), None, job.inputs.get("model")
    if job.inputs.get("mask_set"):
        mask_job = jobs.get(session, job.inputs["mask_set"])
        model_id = mask_job.inputs["model"]
        mask_set = mask_job.done[Stage.MASK]["artifact"]
    model = registry.get(session, model_id).id if model_id else None
    # The parameters may name a model too: the starting point of a training.
    named = (model, params.pretrained if isinstance(params, Hyperparameters) else None)
    judged_job = _judged_job(session, job, params)
    names = [*(name for name in named if isinstance(name, str)), *job.models.values()]
    names += judged_job.models.values() if judged_job else ()
    return Spec(
        job_id=job.id,
        kind=job.kind,
        attempt=job.attempt,
        stages=tuple(stage for stage in stages_of(job.kind, job.params) if stage not in job.done),
        done={Stage(stage): result_from_json(one) for stage, one in job.done.items()},
        params=params,
        slot=slot,
        request_id=job.request_id,
        model_ids={Arm(arm): id for arm, id in job.inputs.get("model_ids", {}).items()},
        resumed=job.inputs.get("resumed", 0),
        image_answers=_ANSWERS.validate_python(job.inputs.get("review")),
        model=model,
        dataset=_dataset(session, job),
        mask_set=mask_set,
        models=_models(session, names),
        judged_job=judged_job,
    )


def _judged_job(session: Session, job: JobRow, params: AnyParams) -> JudgedJobSpec | None:
    if not isinstance(params, EvaluateParams) or params.job is None:
        return None
    row = jobs.get(session, params.job)
    trained_on = [datasets.get_ready(session, id).artifact for id in job.inputs["trained_on"]]
    return JudgedJobSpec(
        id=row.id,
        report=row.done[Stage.EVALUATE]["artifact"],
        models={Arm(arm): id for arm, id in job.inputs["judged"].items()},
        dataset=str(row.dataset_id),
        trained_on=tuple(map(str, trained_on)),
        look=job.inputs.get("look"),
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
            below = row.backbone_artifact and session.get_one(BackboneRow, row.backbone_artifact)
            specs[row.id] = ModelSpec(
                id=row.id,
                arm=row.arm,
                artifact=row.artifact,
                erm_id=row.erm_id,
                job_id=row.job_id,
                classes=tuple(row.classes),
                backbone=row.backbone,
                image_size=row.image_size,
                backbone_artifact=row.backbone_artifact,
                backbone_digest=below.digest if below else None,
                calibration=_CALIBRATION.validate_python(row.calibration),
                calibration_is_imported=row.calibration is not row.own_calibration,
                pattern_judge=_PATTERN_JUDGE.validate_python(row.pattern_judge),
            )
            waiting += [row.erm_id] if row.erm_id else []
    return specs
