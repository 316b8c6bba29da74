"""SQL for the passes over images that running jobs make, and for the shards that their own worker and others
take of them. Nothing here commits.

A shard is taken once in an attempt: the numbers of the missing ones are in the row, and whoever begins some
raises the count of those that are taken.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from core.queries import leases
from core.queries.jobs import of_kinds
from core.queries.leases import Lease
from core.tables import JobRow, PassRow
from masktune.contract.vocabulary import JobKind, JobState


def open_pass(session: Session, opened: PassRow) -> None:
    """Add the pass, in place of the job's pass before, or raise `LeaseLost`."""
    leases.held(session, Lease(opened.job_id, opened.token), lock=True)
    session.execute(delete(PassRow).where(PassRow.job_id == opened.job_id))
    session.add(opened)


def best(session: Session, kinds: Collection[JobKind]) -> Sequence[PassRow]:
    """The passes of jobs of these kinds of which a shard is left to take, in the order of the jobs."""
    query = (
        select(PassRow)
        .join(JobRow, JobRow.id == PassRow.job_id)
        .where(PassRow.taken < PassRow.shards, JobRow.state == JobState.RUNNING, of_kinds(kinds))
        .order_by(JobRow.priority.desc(), JobRow.created_at, JobRow.id)
    )
    return session.scalars(query).all()


def take(session: Session, lease: Lease, key: str, count: int = 1) -> list[int]:
    """Take up to `count` shards of the pass with this key; empty if none is left, or if the pass is over."""
    row = session.execute(
        update(PassRow)
        .where(
            PassRow.job_id == lease.job_id,
            PassRow.token == lease.token,
            PassRow.key == key,
            PassRow.taken < PassRow.shards,
        )
        .values(taken=PassRow.taken + count)
        .returning(PassRow.taken, PassRow.numbers)
    ).one_or_none()
    return [] if row is None else row.numbers[row.taken - count : row.taken]
