"""SQL for job events: written in the transaction of the change they report, read in order of number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, delete, func, insert, not_, select, tuple_, update
from sqlalchemy.orm import Session

from core.session import ago, db_now
from core.tables import EventRow, JobRow
from masktune.contract.vocabulary import EventType


def add(session: Session, job_id: str, type: EventType, data: Mapping[str, Any]) -> int:
    """Append one event and return its number.

    The number is taken by an UPDATE of the job's row, whose lock is held until the commit, so that a
    reader of "number > last" never misses an event that commits late.
    """
    seq: int = session.execute(
        update(JobRow)
        .where(JobRow.id == job_id)
        .values(event_seq=JobRow.event_seq + 1)
        .returning(JobRow.event_seq)
    ).scalar_one()
    session.execute(
        insert(EventRow).values(job_id=job_id, seq=seq, type=type.value, data=dict(data), at=db_now())
    )
    return seq


_WITHIN_EPOCH = and_(
    EventRow.type == EventType.PROGRESS.value,
    func.coalesce(EventRow.data["metrics"].as_string(), "{}") == "{}",
)
"""Whether an event only moves the progress bar: it has no figures."""


def page(session: Session, job_id: str, *, after: int, limit: int, thin: bool = False) -> list[EventRow]:
    """The first `limit` events of one job after number `after`, in order.

    `thin`: without those that the function `thin` deletes.
    """
    rows = select(EventRow).where(EventRow.job_id == job_id, EventRow.seq > after)
    if thin:
        rows = rows.where(not_(_WITHIN_EPOCH))
    return list(session.scalars(rows.order_by(EventRow.seq).limit(limit)))


def heads(session: Session, job_ids: list[str]) -> dict[str, int]:
    """The newest event number of each job, so that one query polls for all event streams."""
    rows = session.execute(select(JobRow.id, JobRow.event_seq).where(JobRow.id.in_(job_ids)))
    return {row.id: row.event_seq for row in rows}


def between(session: Session, ranges: Mapping[str, tuple[int, int]]) -> list[EventRow]:
    """The events of several jobs in their ranges (after, last], ordered by job and number."""
    numbers = [(job, n) for job, (after, last) in ranges.items() for n in range(after + 1, last + 1)]
    return list(
        session.scalars(
            select(EventRow)
            .where(tuple_(EventRow.job_id, EventRow.seq).in_(numbers))
            .order_by(EventRow.job_id, EventRow.seq)
        )
    )


def thin(session: Session, *, older_than: float, at_a_time: int) -> list[str]:
    """Delete the progress events without figures of jobs that ended more than `older_than` seconds ago.

    Epochs with their figures, stages, states and the log stay, so the numbers have gaps afterwards. Returns
    the ids of the jobs, at most `at_a_time`: a day of training may have 100,000 such events.
    """
    before = ago(older_than)
    jobs = list(
        session.scalars(
            select(JobRow.id)
            .where(JobRow.thinned_at.is_(None), JobRow.ended_at < before)
            .order_by(JobRow.ended_at)
            .limit(at_a_time)
            .with_for_update(skip_locked=True)
        )
    )
    if jobs:
        session.execute(
            delete(EventRow)
            .where(EventRow.job_id.in_(jobs), _WITHIN_EPOCH)
            .execution_options(synchronize_session=False)
        )
        session.execute(update(JobRow).where(JobRow.id.in_(jobs)).values(thinned_at=db_now()))
    return jobs
