"""`/jobs`: start by kind, list, cancel, resume, delete. `app.datasets.prediction_jobs` starts predictions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.auth.deps import ADMIN, EDITOR, READER, TRAINER, CallerFirst
from app.http import lists
from app.http.deps import DiscardDep, Reading, RootPathDep, Writing
from app.http.edits import apply_edit
from app.http.lists import DEFAULT_LIMIT, METADATA_FILTER, Cursor, FiltersDep, Limit
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, IfMatch, conditional, represent
from app.jobs import service as jobs
from app.jobs.presenter import describe
from app.jobs.service import CreationDep, JobKey, LoadedJob, QueueDep, start
from core.queries import jobs as queries
from masktune.contract.base import Edit
from masktune.contract.job_requests import (
    ErmRequest,
    EvaluateRequest,
    FinetuneRequest,
    MaskRequest,
    MasktuneRequest,
    MitigateRequest,
    RetrainHeadRequest,
)
from masktune.contract.jobs import (
    AnyJob,
    EvaluateJob,
    JobPage,
    JobPlan,
    MitigateJob,
    RetrainHeadJob,
    TrainingJob,
)
from masktune.contract.vocabulary import JobKind, JobState

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=CallerFirst)

STARTING: dict[str, Any] = {
    "dependencies": [TRAINER],
    "status_code": 202,
    "responses": {200: {"model": JobPlan, "description": "The plan of a dry run."}} | problems(404, 409, 422),
}
DryRun = Annotated[
    bool,
    Query(
        description="Check the request, and answer with the resolved fields and an estimate of time, memory "
        "and disk space. Starts nothing; an Idempotency-Key is ignored."
    ),
]


@router.post(
    "/mitigate",
    response_model=MitigateJob,
    summary="Try what suits the data against a shortcut, and recommend one model",
    **STARTING,
)
def start_mitigate(body: MitigateRequest, creation: CreationDep, dry_run: DryRun = False) -> Response:
    return start(creation, JobKind.MITIGATE, body, dry_run=dry_run)


@router.post("/erm", response_model=TrainingJob, summary="Train by plain ERM", **STARTING)
def start_erm(body: ErmRequest, creation: CreationDep, dry_run: DryRun = False) -> Response:
    return start(creation, JobKind.ERM, body, dry_run=dry_run)


@router.post("/mask", response_model=TrainingJob, summary="Compute a mask set", **STARTING)
def start_mask(body: MaskRequest, creation: CreationDep, dry_run: DryRun = False) -> Response:
    return start(creation, JobKind.MASK, body, dry_run=dry_run)


@router.post(
    "/finetune",
    response_model=TrainingJob,
    summary="Finetune a model on the images of a mask set",
    **STARTING,
)
def start_finetune(body: FinetuneRequest, creation: CreationDep, dry_run: DryRun = False) -> Response:
    return start(creation, JobKind.FINETUNE, body, dry_run=dry_run)


@router.post(
    "/masktune",
    response_model=TrainingJob,
    summary="Run the paper's whole method: erm, mask, finetune, control, calibrate, evaluate",
    **STARTING,
)
def start_masktune(body: MasktuneRequest, creation: CreationDep, dry_run: DryRun = False) -> Response:
    return start(creation, JobKind.MASKTUNE, body, dry_run=dry_run)


@router.post(
    "/retrain_head",
    response_model=RetrainHeadJob,
    summary="Retrain the last layer, balanced over groups",
    **STARTING,
)
def start_retrain_head(body: RetrainHeadRequest, creation: CreationDep, dry_run: DryRun = False) -> Response:
    return start(creation, JobKind.RETRAIN_HEAD, body, dry_run=dry_run)


@router.post("/evaluate", response_model=EvaluateJob, summary="Measure a model", **STARTING)
def start_evaluate(body: EvaluateRequest, creation: CreationDep, dry_run: DryRun = False) -> Response:
    return start(creation, JobKind.EVALUATE, body, dry_run=dry_run)


@router.get(
    "",
    dependencies=[READER],
    summary="List jobs, newest first",
    response_model=JobPage,
    responses=NOT_MODIFIED | problems(422),
    openapi_extra=METADATA_FILTER,
)
def list_jobs(
    request: Request,
    session: Reading,
    root_path: RootPathDep,
    filters: FiltersDep,
    kind: Annotated[JobKind | None, Query(description="Only jobs of this kind.")] = None,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    dataset: Annotated[
        str | None, Query(pattern=r"^ds_[0-9a-z]+$", max_length=32, description="Only jobs of this data set.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    rows = queries.listing(
        session,
        before=lists.decode(cursor),
        limit=limit + 1,
        kind=kind,
        state=state,
        dataset_id=dataset,
        filters=filters,
    )
    return conditional(request, lists.page(rows, limit, lambda row: describe(row, root_path)))


@router.get(
    "/{job_id}",
    dependencies=[READER],
    summary="Get a job",
    response_model=AnyJob,
    responses=NOT_MODIFIED | problems(404),
)
def get_job(
    request: Request, row: LoadedJob, session: Reading, queue: QueueDep, root_path: RootPathDep
) -> Response:
    return conditional(request, jobs.describe(session, row, root_path, queue))


@router.patch(
    "/{job_id}",
    dependencies=[EDITOR],
    summary="Change the name and the metadata of a job",
    response_model=AnyJob,
    responses=problems(404, 412),
)
def edit_job(
    job_id: JobKey,
    edit: Edit,
    session: Writing,
    queue: QueueDep,
    root_path: RootPathDep,
    if_match: IfMatch = None,
) -> Response:
    row = queries.get(session, job_id, lock=True)
    return apply_edit(
        session,
        row,
        edit,
        if_match=if_match,
        describe=lambda: jobs.describe(session, row, root_path, queue),
    )


@router.delete(
    "/{job_id}",
    dependencies=[ADMIN],
    status_code=204,
    summary="Delete a job that has ended, with its report and its predictions; its models stay",
    responses=problems(404, 409, 422),
)
def delete_job(
    job_id: JobKey,
    session: Writing,
    discard: DiscardDep,
    keep_dataset: Annotated[
        bool,
        Query(
            description="Keep the unlabelled data set, which goes with the last predict job on it by default."
        ),
    ] = False,
) -> None:
    jobs.delete(session, job_id, discard, keep_dataset=keep_dataset)


@router.post(
    "/{job_id}/cancel",
    dependencies=[TRAINER],
    status_code=202,
    summary="Cancel a job; the device is free within seconds",
    response_model=AnyJob,
    responses=problems(404, 409),
)
def cancel_job(job_id: JobKey, session: Writing, queue: QueueDep, root_path: RootPathDep) -> Response:
    return represent(jobs.describe(session, queries.cancel(session, job_id), root_path, queue), status=202)


@router.post(
    "/{job_id}/resume",
    dependencies=[TRAINER],
    status_code=202,
    summary="Resume a failed or cancelled job from its last checkpoint",
    response_model=AnyJob,
    responses=problems(404, 409),
)
def resume_job(job_id: JobKey, session: Writing, queue: QueueDep, root_path: RootPathDep) -> Response:
    row = jobs.resume(session, queue, job_id)
    return represent(jobs.describe(session, row, root_path, queue), status=202)
