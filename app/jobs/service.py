"""Operations on existing jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import Depends
from fastapi import Path as PathParam
from sqlalchemy.orm import Session

from app.http.deps import DatabaseDep, DiscardFiles, shaped_like
from app.jobs import presenter
from app.jobs.queue import JobQueue
from core.errors import NotFound, NotReported
from core.queries import datasets, jobs, registry
from core.slots import kinds_queued_with
from core.storage.artifacts import Artifacts
from core.tables import JobRow
from masktune.contract.jobs import Job
from masktune.contract.vocabulary import JobKind, Stage


def describe(session: Session, row: JobRow, root_path: str, queue: JobQueue) -> Job:
    """Describe the job's current state, and what it waits for."""
    kinds = kinds_queued_with(row.kind, queue.import_slots)
    return presenter.describe(row, root_path, jobs.wait(session, row, kinds))


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
    """Remove the row now, and after the commit all that the job has written but its models. An unlabelled
    data set that it alone has predicted goes with it, unless it is to be kept."""
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
