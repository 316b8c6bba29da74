"""SQL for data sets. Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import DatasetInUse, DatasetNotReady, InvalidInput
from core.queries import jobs, webhooks
from core.queries.rows import add as add
from core.queries.rows import get_row
from core.queries.states import enter
from core.session import ago, db_now
from core.tables import DatasetRow, JobRow
from masktune.contract.vocabulary import DatasetState, JobKind, JobState, WebhookEvent


def get(session: Session, dataset_id: str, *, lock: bool = False) -> DatasetRow:
    """The data set, or `NotFound`."""
    return get_row(session, DatasetRow, dataset_id, "data set", lock=lock)


def get_ready(session: Session, dataset_id: str) -> DatasetRow:
    """The data set if it can be used, or `DatasetNotReady`."""
    row = get(session, dataset_id)
    if row.state is not DatasetState.READY or row.artifact is None:
        raise _not_ready(row)
    return row


def get_predictable(session: Session, dataset_id: str, *, lock: bool = False) -> DatasetRow:
    """As `get_ready`; without labels, which could not fit the model, also while it is being imported."""
    row = get(session, dataset_id, lock=lock)
    is_importing = row.state is DatasetState.IMPORTING and not row.labelled
    return row if is_importing else get_ready(session, dataset_id)


def _not_ready(row: DatasetRow) -> DatasetNotReady:
    """Why it cannot be used."""
    faults = [*filter(None, [row.summary.get("error")]), *row.summary.get("problems", ())]
    reasons = "; ".join(fault["detail"] for fault in faults)
    hint = {
        DatasetState.IMPORTING: "wait until its state is ready",
        DatasetState.INVALID: reasons or "its report says what is wrong",
        DatasetState.READY: "its files are gone",
    }[row.state]
    return DatasetNotReady(f"data set {row.id} is {row.state.value}: {hint}")


def require_labelled(row: DatasetRow) -> DatasetRow:
    """The data set if it has labels, or `InvalidInput`."""
    if not row.labelled:
        raise InvalidInput.field(
            "/dataset",
            "unlabelled",
            f"data set {row.id} has no labels, so nothing can be trained or measured on it; name a labelled "
            "one for that. The images of an unlabelled one can be predicted",
        )
    return row


def get_trainable(session: Session, dataset_id: str) -> DatasetRow:
    """The data set if something can be trained on it; else `DatasetNotReady`, or `InvalidInput` if it has no
    labels or holds test images alone."""
    row = require_labelled(get_ready(session, dataset_id))
    splits = row.summary.get("splits", {})
    if splits and not splits.get("train", {}).get("count"):
        raise InvalidInput.field(
            "/dataset",
            "only-test",
            f"data set {dataset_id} holds test images alone, so nothing can be trained on it; name one with "
            "training images, or judge the models of a job on it",
        )
    return row


def finish(
    session: Session,
    dataset_id: str,
    *,
    artifact: str | None,
    classes: list[str],
    summary: Mapping[str, Any],
    ready: bool,
) -> None:
    """Record the outcome of the import, and end the wait of the jobs for it."""
    row = get(session, dataset_id)
    row.state = DatasetState.READY if ready else DatasetState.INVALID
    row.artifact, row.classes, row.summary, row.ended_at = artifact, classes, dict(summary), db_now()
    session.flush()
    summary_of_row = {"id": row.id, "url": f"/datasets/{row.id}", "state": row.state, "name": row.name}
    webhooks.publish(session, WebhookEvent(f"dataset.{row.state}"), summary_of_row)
    _end_waits(session, row)


def wait_for_import(job: JobRow, dataset: DatasetRow) -> None:
    """Let a queued job on this data set, which is locked, wait while it is being imported."""
    if dataset.state is DatasetState.IMPORTING and job.kind is not JobKind.IMPORT:
        job.not_before = None


def _end_waits(session: Session, dataset: DatasetRow) -> None:
    """Let the jobs start that have waited for the import, or fail them."""
    waiting = select(JobRow).where(JobRow.dataset_id == dataset.id, jobs.QUEUED, JobRow.not_before.is_(None))
    for job in session.scalars(waiting.order_by(JobRow.id).with_for_update()).all():
        job.not_before = db_now()
        if dataset.state is DatasetState.INVALID:
            job.state, job.ended_at = JobState.FAILED, db_now()
            job.error = _not_ready(dataset).to_problem()
            session.flush()
            enter(session, job.id, JobState.FAILED, error=job.error)


def keep(session: Session, dataset_id: str) -> None:
    """Block the deletion of this data set until the transaction ends, or raise `NotFound`.

    The lock (FOR KEY SHARE) blocks neither reads nor updates of its state.
    """
    get_row(session, DatasetRow, dataset_id, "data set", lock={"read": True, "key_share": True})


def delete(session: Session, dataset_id: str) -> set[str]:
    """Remove the row, or `DatasetInUse`.
    Return the keys of the artifacts that the caller deletes after the commit.

    They include those of an import that was killed before it was recorded, and the work folders of all jobs
    that would need the data set to resume.
    """
    row = get(session, dataset_id, lock=True)
    users = jobs.using_dataset(session, dataset_id)
    if users:
        raise DatasetInUse(
            f"data set {dataset_id} is used by {', '.join(users)}; cancel them or wait for them to end"
        )
    session.delete(row)
    session.flush()
    keys = {row.artifact or f"datasets/{dataset_id}", f"features/{dataset_id}"}
    keys.update(filter(None, [row.source.get("upload")]))
    return keys | {f"jobs/{job_id}/work" for job_id in jobs.resumable(session, dataset_id=dataset_id)}


def predicted_by(session: Session, job: JobRow, *, lock: bool = False) -> DatasetRow | None:
    """The unlabelled data set that this predict job alone has predicted, so that it goes with the job."""
    if job.kind is not JobKind.PREDICT or not job.state.ended:
        return None
    row = session.get(DatasetRow, job.dataset_id, with_for_update=lock)
    others = select(JobRow.id).where(
        JobRow.dataset_id == job.dataset_id, JobRow.kind == JobKind.PREDICT, JobRow.id != job.id
    )
    return None if row is None or row.labelled or session.scalar(others.limit(1)) else row


def delete_unlabelled(session: Session, *, older_than: float) -> set[str]:
    """Remove the unlabelled data sets created more than `older_than` seconds ago that no active job uses, and
    return the keys of their artifacts. Those that another transaction has locked wait for the next call."""
    query = (
        select(DatasetRow.id)
        .where(DatasetRow.labelled.is_(False), DatasetRow.created_at < ago(older_than))
        .with_for_update(skip_locked=True)
    )
    unused = [id for id in session.scalars(query).all() if not jobs.using_dataset(session, id)]
    return set().union(*(delete(session, id) for id in unused))
