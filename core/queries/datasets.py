"""SQL for data sets. Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from core.errors import DatasetInUse, DatasetNotReady, InvalidInput, NotFound
from core.queries import jobs
from core.queries.rows import add as add
from core.session import db_now
from core.tables import DatasetRow
from masktune.contract.vocabulary import DatasetState


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


def get_trainable(session: Session, dataset_id: str) -> DatasetRow:
    """The data set if something can be trained on it; else `DatasetNotReady`, or `InvalidInput` if it holds
    test images alone."""
    row = get_ready(session, dataset_id)
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


def keep(session: Session, dataset_id: str) -> None:
    """Block the deletion of this data set until the transaction ends, or raise `NotFound`.

    The lock (FOR KEY SHARE) blocks neither reads nor updates of its state.
    """
    lock = {"read": True, "key_share": True}
    if session.get(DatasetRow, dataset_id, with_for_update=lock) is None:
        raise NotFound(f"there is no data set {dataset_id}; see the list of data sets")


def delete(session: Session, dataset_id: str) -> DatasetRow:
    """Remove the row, or `DatasetInUse`; the caller removes the artifact after the commit."""
    row = get(session, dataset_id, lock=True)
    users = jobs.using_dataset(session, dataset_id)
    if users:
        raise DatasetInUse(
            f"data set {dataset_id} is used by {', '.join(users)}; cancel them or wait for them to end"
        )
    session.delete(row)
    session.flush()
    return row
