"""What requests do with jobs: plan and start them, within the quota of their key and told to the workers once
committed; describe, resume and delete them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends
from fastapi import Path as PathParam
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import Idempotent, Once, fingerprint
from app.http.deps import DatabaseDep, DiscardFiles, NotifierDep, RootPathDep, SettingsDep, shaped_like
from app.http.responses import represent
from app.inference.backbones import network_size
from app.jobs import presenter
from app.jobs.estimate import estimate_job, measured_rates
from app.jobs.plans import PLANNERS, PlannedJob
from app.jobs.workload import workload
from core.errors import NotFound, NotReported, TooManyRequests
from core.notifications import JobNotifier
from core.queries import datasets, jobs, registry
from core.session import after_commit
from core.slots import kinds_queued_with
from core.storage.artifacts import Artifacts
from core.tables import DatasetRow, JobRow
from masktune.contract.base import Json
from masktune.contract.ids import new_id
from masktune.contract.job_params import params_to_json
from masktune.contract.job_requests import JobRequest
from masktune.contract.jobs import Job, JobEstimate, JobInputs, JobPlan
from masktune.contract.jobs.judgements import current
from masktune.contract.vocabulary import DatasetState, JobKind, JobState, Stage


@dataclass(frozen=True)
class JobQueue:
    """`max_active` is how many jobs of one key may wait or run at a time; 0 is any number.
    `import_slots` is how many imports a worker runs beside its other jobs."""

    max_active: int
    import_slots: int
    notifier: JobNotifier

    def admit(self, session: Session, job: JobRow) -> None:
        """Announce this job, which the transaction has queued, once it is committed.

        Raises `TooManyRequests` if it exceeds the quota of the key that created it;
        the transaction is then
        rolled back. The response has no Retry-After, because nobody knows when a job ends.
        """
        most = self.max_active
        if most and job.created_by is not None and jobs.active_of(session, job.created_by) > most:
            raise TooManyRequests(
                f"this key has {most} queued or running jobs, which is its limit; "
                "wait until one ends, or cancel one"
            )
        after_commit(session, partial(self.notifier.notify, job.id))


@dataclass(frozen=True)
class JobCreation:
    """A request that creates a job: once per Idempotency-Key, for its caller."""

    once: Once
    queue: JobQueue
    root_path: str

    def add(
        self,
        session: Session,
        kind: JobKind,
        dataset_id: str,
        *,
        params: Json,
        inputs: Json,
        **user_fields: Any,
    ) -> JobRow:
        """Queue a job; `inputs` are those besides the data set, `user_fields` are columns that any job may
        have. Raises `TooManyRequests`."""
        job = JobRow(
            id=new_id("job"),
            kind=kind,
            created_by=self.once.caller,
            request_id=self.once.origin.request_id,
            traceparent=self.once.origin.traceparent,
            dataset_id=dataset_id,
            params=params,
            inputs={"dataset": dataset_id, **inputs},
            **user_fields,
        )
        row = jobs.add(session, job)
        self.queue.admit(session, row)
        return row


async def _queue(settings: SettingsDep, notifier: NotifierDep) -> JobQueue:
    return JobQueue(settings.max_active_jobs_per_key, settings.import_slots, notifier)


QueueDep = Annotated[JobQueue, Depends(_queue)]


async def _creation(once: Idempotent, queue: QueueDep, root_path: RootPathDep) -> JobCreation:
    return JobCreation(once, queue, root_path)


CreationDep = Annotated[JobCreation, Depends(_creation)]


def describe(session: Session, row: JobRow, root_path: str, queue: JobQueue) -> Job:
    """Describe the job's current state, what it waits for, and what is known of its models now."""
    kinds = kinds_queued_with(row.kind, queue.import_slots)
    job = presenter.describe(row, root_path, jobs.wait(session, row, kinds))
    if row.state is not JobState.SUCCEEDED or Stage.EVALUATE not in row.done:
        return job
    judgements = presenter.judgements([row, *jobs.judging(session, row.id)])
    return job.model_copy(update={"judgements": judgements, "current": current(judgements)})


def resume(session: Session, queue: JobQueue, job_id: str) -> JobRow:
    """Queue the job again. Raises `NotFound` if something that it reads or has made was deleted."""
    row = jobs.resume(session, job_id)
    if row.dataset_id is not None:
        datasets.wait_for_import(row, datasets.get(session, row.dataset_id, lock=True))
    jobs.keep_inputs(session, row.inputs, row.params)
    registry.keep(session, jobs.models_read(row.inputs, row.params) | set(row.models.values()))
    queue.admit(session, row)
    return row


def delete(session: Session, job_id: str, discard: DiscardFiles, *, keep_dataset: bool) -> None:
    """Remove the row now, and after the commit all that the job has written but its models.
    An unlabelled data set that it alone has predicted goes with it, unless it is to be kept."""
    row = jobs.get(session, job_id, lock=True)
    predicted = None if keep_dataset else datasets.predicted_by(session, row, lock=True)
    jobs.delete(session, job_id)
    keys = {f"jobs/{job_id}"}
    discard(session, keys | (datasets.delete(session, predicted.id) if predicted else set()))


def predictions(row: JobRow, artifacts: Artifacts, name: str | None = None) -> Path:
    """Return a file that a predict job wrote, by default the one that it was asked for."""
    if row.kind is not JobKind.PREDICT:
        raise NotFound(f"job {row.id} is not a predict job; only those write predictions")
    output = row.done.get(Stage.PREDICT)
    if output is None:
        raise NotReported(f"job {row.id} is {row.state.value}; its file is available once it has succeeded")
    return artifacts.file(output["artifact"], name or output["file"])


JobKey = Annotated[
    str,
    PathParam(description="Id of a job.", examples=["job_06d4k3w8s0q6v7yx3n5m9a1b2c"]),
    shaped_like("job", "job", "/jobs"),
]


def _job(job_id: JobKey, database: DatabaseDep) -> JobRow:
    with database.read() as session:
        return jobs.get(session, job_id)


LoadedJob = Annotated[JobRow, Depends(_job)]


AddDataset = Callable[[Session], DatasetRow]
"""Adds a data set, which is being imported, within a transaction."""


def start(
    creation: JobCreation,
    kind: JobKind,
    request: JobRequest,
    *,
    dry_run: bool,
    add_dataset: AddDataset | None = None,
) -> Response:
    """Plan the job and queue it; answer 202 with the whole resource.
    A dry run ends with the plan: 200.

    `add_dataset` adds the data set of a job that is planned without one.
    """
    if dry_run:
        with creation.once.database.read() as session:
            return represent(_describe_plan(session, kind, PLANNERS[kind](session, request)))

    def plan() -> PlannedJob:
        with creation.once.database.read() as session:
            return PLANNERS[kind](session, request)

    def make(session: Session, planned: PlannedJob) -> Response:
        if add_dataset is not None:
            dataset = add_dataset(session)
        else:  # lock and check again: data set or models may have been deleted while the plan was made
            dataset = datasets.get_predictable(session, str(planned.dataset_id), lock=True)
        for dataset_id in planned.trained_on:
            datasets.keep(session, dataset_id)
        params, inputs = params_to_json(planned.params), planned.inputs_as_json()
        jobs.keep_inputs(session, inputs, params)
        registry.keep(session, jobs.models_read(inputs, params))
        if planned.judged:
            images = dataset.summary.get("images_digest", dataset.id)
            inputs["look"] = jobs.number_look(session, params["job"], images)
        row = creation.add(
            session,
            kind,
            dataset.id,
            params=params,
            inputs=inputs,
            request=request.model_dump(mode="json", exclude_unset=True),
            name=request.name,
            user_metadata=request.metadata,
            priority=request.priority,
        )
        datasets.wait_for_import(row, dataset)
        job = describe(session, row, creation.root_path, creation.queue)
        return represent(job, status=202, headers={"Location": job.links["self"]})

    return creation.once.run_planned(fingerprint(kind, request), plan, make)


def _describe_plan(session: Session, kind: JobKind, plan: PlannedJob) -> JobPlan:
    """Describe the plan, with its cost. Raises `InvalidInput` if the network cannot be built."""
    return JobPlan(
        kind=kind,
        dataset=plan.dataset_id,
        params=params_to_json(plan.params),
        inputs=JobInputs(model=plan.model, mask_set=plan.mask_set, image_answers=plan.answers),
        models=list(plan.arms),
        estimate=_estimate(session, kind, plan),
    )


def _estimate(session: Session, kind: JobKind, plan: PlannedJob) -> JobEstimate | None:
    """What the job costs; None while the images are not imported."""
    dataset = None if plan.dataset_id is None else datasets.get(session, plan.dataset_id)
    if dataset is None or dataset.state is not DatasetState.READY:
        return None
    planned = workload(session, kind, dataset, params_to_json(plan.params), plan.inputs_as_json())
    assert planned is not None  # its model has just been read
    classes = dataset.classes if dataset.labelled else registry.get(session, str(plan.model)).classes
    size = network_size(planned.backbone, classes=len(classes), image_size=planned.image_size)
    return estimate_job(planned, measured_rates(session, planned), size)
