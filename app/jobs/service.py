"""What requests do with jobs: queue them, within the quota of their key and told to the workers once
committed; describe, resume and delete them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends
from fastapi import Path as PathParam
from sqlalchemy.orm import Session

from app.auth.idempotency import Idempotent, Once
from app.http.deps import DatabaseDep, DiscardFiles, NotifierDep, RootPathDep, SettingsDep, shaped_like
from app.jobs import presenter
from core.errors import NotFound, NotReported, TooManyRequests
from core.notifications import JobNotifier
from core.queries import datasets, jobs, registry
from core.session import after_commit
from core.slots import kinds_queued_with
from core.storage.artifacts import Artifacts
from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.jobs import Job
from masktune.contract.vocabulary import JobKind, Stage


@dataclass(frozen=True)
class JobQueue:
    """`max_active` is how many jobs of one key may wait or run at a time; 0 is any number. `import_slots` is
    how many imports a worker runs beside its other jobs."""

    max_active: int
    import_slots: int
    notifier: JobNotifier

    def admit(self, session: Session, job: JobRow) -> None:
        """Announce this job, which the transaction has queued, once it is committed.

        Raises `TooManyRequests` if it exceeds the quota of the key that created it; the transaction is then
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
        params: dict[str, Any],
        inputs: dict[str, Any],
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
