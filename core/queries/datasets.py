"""Data sets as SQL. Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import DatasetInUse, DatasetNotReady, NotFound
from core.queries import jobs
from core.queries.paging import newest_first
from core.session import db_now
from core.tables import DatasetRow, JobRow
from core.vocabulary import RESUMABLE, DatasetState


def get(session: Session, dataset_id: str) -> DatasetRow:
    """The data set, or `NotFound`."""
    row = session.get(DatasetRow, dataset_id)
    if row is None:
        raise NotFound(f"no data set {dataset_id}; GET /datasets lists what there is")
    return row


def get_ready(session: Session, dataset_id: str) -> DatasetRow:
    """A data set that can be trained on, or `DatasetNotReady`."""
    row = get(session, dataset_id)
    if row.state is not DatasetState.READY or row.artifact is None:
        hint = {
            DatasetState.IMPORTING: "wait until its state is ready",
            DatasetState.INVALID: "its report says what is wrong with it",
            DatasetState.READY: "its files are gone",
        }[row.state]
        raise DatasetNotReady(f"data set {dataset_id} is {row.state.value}: {hint}")
    return row


def add(session: Session, row: DatasetRow) -> DatasetRow:
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def listing(session: Session, *, before: tuple[float, str] | None, limit: int) -> list[DatasetRow]:
    """Newest first, behind the (created_at, id) of the last one seen."""
    return newest_first(session, DatasetRow, before=before, limit=limit)


def finish(
    session: Session,
    dataset_id: str,
    *,
    artifact: str | None,
    classes: list[str],
    summary: Mapping[str, Any],
    ready: bool,
) -> None:
    """Write what the import found."""
    row = get(session, dataset_id)
    row.state = DatasetState.READY if ready else DatasetState.INVALID
    row.artifact, row.classes, row.summary, row.ended_at = artifact, classes, dict(summary), db_now()
    session.flush()


def keep(session: Session, dataset_id: str) -> None:
    """Hold off the deletion of this data set until the transaction ends, or `NotFound`.

    Nothing else waits: neither who reads it, nor who writes its state.
    """
    lock = {"read": True, "key_share": True}
    if session.get(DatasetRow, dataset_id, with_for_update=lock) is None:
        raise NotFound(f"no data set {dataset_id}; GET /datasets lists what there is")


def resumable_jobs(session: Session, dataset_id: str) -> list[str]:
    """Ids of the failed and cancelled jobs that read this data set, or made it."""
    query = select(JobRow.id).where(JobRow.dataset_id == dataset_id, JobRow.state.in_(RESUMABLE))
    return list(session.scalars(query))


def delete(session: Session, dataset_id: str) -> DatasetRow:
    """Remove the row, or `DatasetInUse`; the caller removes the artifact after the commit."""
    row = session.get(DatasetRow, dataset_id, with_for_update=True)
    if row is None:
        raise NotFound(f"no data set {dataset_id}; GET /datasets lists what there is")
    users = jobs.using_dataset(session, dataset_id)
    if users:
        raise DatasetInUse(f"data set {dataset_id} is used by {', '.join(users)}; cancel or await them first")
    session.delete(row)
    session.flush()
    return row
