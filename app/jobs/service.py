"""Operations on existing jobs, and job and event rows in the shapes of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import Depends
from fastapi import Path as PathParam
from sqlalchemy.orm import Session

from app.http.deps import DatabaseDep, shaped_like
from app.http.edits import user_fields
from app.jobs.queue import JobQueue
from core.errors import NotFound, NotReported
from core.queries import datasets, jobs, registry
from core.slots import kinds_queued_with
from core.storage.artifacts import Artifacts
from core.tables import EventRow, JobRow
from masktune.contract.jobs import Event, Job, JobInputs, JobVerdict, Progress
from masktune.contract.vocabulary import STAGES, JobKind, JobState, Stage
from masktune.contract.waiting import Wait, waiting_for

MEDIA_TYPES = {".parquet": "application/vnd.apache.parquet", ".csv": "text/csv; charset=utf-8"}


_REPORTING = frozenset(kind for kind, stages in STAGES.items() if Stage.EVALUATE in stages)


def describe(row: JobRow, root_path: str, wait: Wait | None = None) -> Job:
    """Describe the job's current state."""
    known = {name: row.progress[name] for name in Progress.model_fields if name in row.progress}
    progress = {"stage": row.stage, **known}
    if row.state is JobState.SUCCEEDED:
        progress |= {"fraction": 1.0, "eta_seconds": 0.0}
    return Job.by_kind[row.kind](
        id=row.id,
        kind=row.kind,
        state=row.state,
        stage=row.stage,
        dataset=row.dataset_id,
        progress=Progress(**progress),
        attempt=row.attempt,
        priority=row.priority,
        queue_position=None if wait is None else wait.position,
        waiting_for=None if wait is None else waiting_for(wait),
        params=row.params,
        inputs={name: row.inputs[name] for name in JobInputs.model_fields if name in row.inputs},
        models=row.models,
        metrics=row.metrics,
        verdict=_verdict(row),
        error=row.error,
        events=row.event_seq,
        created_at=row.created_at,
        queued_at=row.times.get(JobState.QUEUED),
        started_at=row.times.get(JobState.RUNNING),
        cancelling_at=row.times.get(JobState.CANCELLING),
        ended_at=row.ended_at,
        links=_links(row, root_path),
        **user_fields(row),
    )


def _verdict(row: JobRow) -> JobVerdict | None:
    verdict = row.done.get(Stage.EVALUATE, {}).get("verdict")
    return None if verdict is None else JobVerdict.model_validate(verdict)


def describe_event(row: EventRow) -> Event:
    """Describe the event; its id is its number within the job."""
    return Event.by_type[row.type](id=row.seq, type=row.type, at=row.at, data=row.data)


def _links(row: JobRow, root_path: str) -> dict[str, str]:
    here = f"{root_path}/jobs/{row.id}"
    links = {"self": here, "events": f"{here}/events"}
    if row.state is JobState.SUCCEEDED and row.kind in _REPORTING:
        links["report"] = f"{here}/report"
    if row.state is JobState.SUCCEEDED and row.kind is JobKind.PREDICT:
        links["predictions"] = f"{here}/predictions"
    return links


def describe_waiting(session: Session, row: JobRow, root_path: str, queue: JobQueue) -> Job:
    """Describe the job's current state, and what it waits for."""
    kinds = kinds_queued_with(row.kind, queue.import_slots)
    return describe(row, root_path, jobs.wait(session, row, kinds))


def resume(session: Session, queue: JobQueue, job_id: str) -> JobRow:
    """Queue the job again. Raises `NotFound` if something that it reads or has made was deleted."""
    row = jobs.resume(session, job_id)
    if row.dataset_id is not None:
        datasets.keep(session, row.dataset_id)
    registry.keep(session, jobs.models_read(row.inputs, row.params) | set(row.models.values()))
    queue.admit(session, row)
    return row


def predictions(row: JobRow, artifacts: Artifacts) -> tuple[Path, str]:
    """Return the file that a predict job wrote, and its media type."""
    if row.kind is not JobKind.PREDICT:
        raise NotFound(f"job {row.id} is not a predict job; start one with POST /jobs/predict")
    output = row.done.get(Stage.PREDICT)
    if output is None:
        raise NotReported(f"job {row.id} is {row.state.value}; its file is available once it has succeeded")
    file = artifacts.folder(output["artifact"]) / output["file"]
    return file, MEDIA_TYPES[file.suffix]


JobKey = Annotated[
    str,
    PathParam(description="Id of a job.", examples=["job_06d4k3w8s0q6v7yx3n5m9a1b2c"]),
    shaped_like("job", "job", "/jobs"),
]


def _job(job_id: JobKey, database: DatabaseDep) -> JobRow:
    with database.read() as session:
        return jobs.get(session, job_id)


LoadedJob = Annotated[JobRow, Depends(_job)]
