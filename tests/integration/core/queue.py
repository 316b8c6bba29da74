"""The queue of jobs as those see it who add, claim and sweep, each in a transaction of its own."""

from __future__ import annotations

from typing import Any

from core.queries import events, jobs, leases
from core.queries.leases import Lease
from core.session import Database
from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind

MINUTE = 60.0
GAVE_UP = {"detail": "gave up"}
"""The error of a job that lost too many workers."""


def add(database: Database, *, kind: JobKind = JobKind.ERM, **fields: Any) -> str:
    with database.begin() as session:
        return jobs.add(session, JobRow(id=new_id("job"), kind=kind, **{"params": {}} | fields)).id


def claim(database: Database, *, lease_seconds: float = MINUTE) -> Lease:
    """The lease of the job that is next."""
    with database.begin() as session:
        row = leases.claim(session, worker="w", lease_seconds=lease_seconds)
        assert row is not None
        return Lease(row.id, row.token)


def job(database: Database, job_id: str) -> JobRow:
    with database.read() as session:
        return jobs.get(session, job_id)


def sweep(database: Database, *, max_attempts: int = 5) -> list[str]:
    with database.begin() as session:
        return leases.requeue_expired(session, max_attempts=max_attempts, too_many=GAVE_UP)


def told(database: Database, job_id: str) -> list[tuple[str, Any]]:
    """Type and data of each event behind the first, which says that it was queued."""
    with database.read() as session:
        return [(e.type, e.data) for e in events.page(session, job_id, after=1, limit=100)]
