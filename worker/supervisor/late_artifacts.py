"""Shards that a process puts after the job had ended, or had been deleted, elsewhere."""

from __future__ import annotations

from sqlalchemy import select

from core.storage.trash import discard
from core.tables import DatasetRow, JobRow
from masktune.contract.vocabulary import JobState
from worker.runtime import Runtime


def discard_late(runtime: Runtime, job_id: str) -> None:
    """Delete what a process that is gone put after the job, its data set or its work folder was deleted."""
    query = select(JobRow.state, DatasetRow.id).outerjoin(DatasetRow, DatasetRow.id == JobRow.dataset_id)
    with runtime.database.read() as session:
        row = session.execute(query.where(JobRow.id == job_id)).one_or_none()
    if row is None or row.state is JobState.SUCCEEDED or row.id is None:
        key = f"jobs/{job_id}" if row is None else f"jobs/{job_id}/work"
        with runtime.database.begin() as session:
            discard(session, runtime.database, runtime.artifacts, [key])
