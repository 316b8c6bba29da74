"""SQL for data sets. Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import DatasetInUse, DatasetNotReady, InvalidInput, NotFound
from core.queries import jobs, webhooks
from core.queries.rows import add as add
from core.session import ago, db_now
from core.tables import DatasetRow, JobRow
from masktune.contract.vocabulary import DatasetState, JobKind, WebhookEvent


def get(session: Session, dataset_id: str, *, lock: bool = False) -> DatasetRow:
    """The data set, or `NotFound`."""
    row = session.get(DatasetRow, dataset_id, with_for_update=lock)
    if row is None:
        raise NotFound(f"there is no data set {dataset_id}; see the list of data sets")
    return row


def get_ready(session: Session, dataset_id: str) -> DatasetRow:
    """The data set if it can be used, or `DatasetNotReady`."""
    row = get(session, dataset_id)
    if row.state is not DatasetState.READY or row.artifact is None:
        hint = {
            DatasetState.IMPORTING: "wait until its state is ready",
            DatasetState.INVALID: "its report says what is wrong",
            DatasetState.READY: "its files are gone",
        }[row.state]
        raise DatasetNotReady(f"data set {dataset_id} is {row.state.value}: {hint}")
    return row


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
    """Record the outcome of the import."""
    row = get(session, dataset_id)
    row.state = DatasetState.READY if ready else DatasetState.INVALID
    row.artifact, row.classes, row.summary, row.ended_at = artifact, classes, dict(summary), db_now()
    session.flush()
    summary_of_row = {"id": row.id, "url": f"/datasets/{row.id}", "state": row.state, "name": row.name}
    webhooks.publish(session, WebhookEvent(f"dataset.{row.state}"), summary_of_row)


def keep(session: Session, dataset_id: str) -> None:
    """Block the deletion of this data set until the transaction ends, or raise `NotFound`.

    The lock (FOR KEY SHARE) blocks neither reads nor updates of its state.
    """
    lock = {"read": True, "key_share": True}
    if session.get(DatasetRow, dataset_id, with_for_update=lock) is None:
        raise NotFound(f"there is no data set {dataset_id}; see the list of data sets")


def delete(session: Session, dataset_id: str) -> set[str]:
    """Remove the row, or `DatasetInUse`. Return the keys of the artifacts that the caller deletes after the
    commit.

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
    if job.kind is not JobKind.PREDICT:
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
