"""The sweep, which repairs the queue: every worker and every front runs it every few seconds.

It settles the jobs of silent workers and deletes expired records. It is idempotent, and concurrent sweeps do
no harm.
"""

from __future__ import annotations

import logging
import math

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.errors import problem
from core.queries import audit, datasets, events, idempotency, leases, served, trash, webhooks
from core.session import Database, db_now
from core.settings import Settings
from core.tables import DatasetRow, JobRow, PurgeRow
from masktune.contract.problems import ErrorCode
from masktune.contract.vocabulary import ENDED, DatasetState

logger = logging.getLogger(__name__)

DAY = 86_400.0

ANSWERS_SECONDS = DAY
"""How long an Idempotency-Key replays its first response, at least."""

SERVED_SECONDS = 90 * DAY
"""How long the counts of what a model was served are kept, at least."""

_ID = 1

THINNED_AT_A_TIME = 5
"""Most jobs whose events one sweep thins: on SQLite, this blocks all other writers."""


def sweep(database: Database, settings: Settings) -> None:
    """Repair, in one transaction, what lost workers, messages or processes left behind; then thin the events
    of a few jobs that ended long ago.

    The sweep uses only the database and must never wait for a store: `core.storage.maintenance` does that.
    """
    with database.begin() as session:
        most = settings.max_attempts
        too_many = problem(
            ErrorCode.JOB_FAILED,
            f"the job was given up: {most} workers in a row fell silent without saved progress; check "
            "the workers' logs and memory, then resume the job: it continues from its last checkpoint",
            extra={"reason": "too_many_attempts"},
        )
        for job_id in leases.requeue_expired(session, max_attempts=most, too_many=too_many):
            logger.warning("job %s lost its worker and is queued again", job_id)
        close_imports(session)
        if settings.unlabelled_days is not None:
            trash.put(session, datasets.delete_unlabelled(session, older_than=settings.unlabelled_days * DAY))
        purge(
            session,
            audit_seconds=settings.audit_days * DAY,
            delivery_seconds=settings.webhook_log_days * DAY,
        )
    with database.begin() as session:
        events.thin(session, older_than=settings.progress_days * DAY, at_a_time=THINNED_AT_A_TIME)


def close_imports(session: Session, job_id: str | None = None) -> None:
    """Mark data sets whose import ended without a result as `invalid`, with the reason in their report.

    Handles the data sets of all jobs, or of this one. A data set that another transaction has locked, to
    delete or to close it too, is left to that transaction or to the next sweep.
    """
    query = (
        select(DatasetRow, JobRow)
        .join(JobRow, JobRow.id == DatasetRow.job_id)
        .where(DatasetRow.state == DatasetState.IMPORTING, JobRow.state.in_(ENDED))
        .with_for_update(of=DatasetRow, skip_locked=True)
    )
    if job_id is not None:
        query = query.where(JobRow.id == job_id)
    for dataset, job in session.execute(query):
        datasets.finish(
            session,
            dataset.id,
            artifact=None,
            classes=[],
            summary={
                "error": job.error or problem(ErrorCode.JOB_FAILED, f"the import was {job.state.value}")
            },
            ready=False,
        )


def purge(session: Session, *, audit_seconds: float, delivery_seconds: float) -> None:
    """Delete stored responses, counts, messages to webhooks that are older than `delivery_seconds`, and
    entries of the audit log that are older than `audit_seconds`, unless that was done within a day: at most
    the oldest day of them, at most once a day. So a clock that is wrong for a while, and seconds are enough
    for a sweep, does not empty the audit log.

    If `audit_seconds` is less than it was, all older entries are deleted: the operator has asked for that.
    """
    last = _last(session, audit_seconds)
    now = session.execute(select(db_now())).scalar_one()
    if last is None:
        return
    if last.at > now:  # the clock was ahead then, or is behind now: wait a day from here
        last.at = now
    if now - last.at < DAY:
        return
    audit_span = DAY if audit_seconds >= last.audit_seconds else math.inf
    deleted = [
        idempotency.purge(session, older_than=ANSWERS_SECONDS, span=DAY),
        served.purge(session, older_than=SERVED_SECONDS, span=DAY),
        audit.purge(session, older_than=audit_seconds, span=audit_span),
        webhooks.purge(session, older_than=delivery_seconds, span=DAY),
    ]
    last.audit_seconds = audit_seconds
    if any(deleted):
        last.at = now


def _last(session: Session, audit_seconds: float) -> PurgeRow | None:
    """The row of the last purge, locked; None if another process writes it for the first time right now."""
    last = session.get(PurgeRow, _ID, with_for_update=True, populate_existing=True)
    if last is None:
        last = PurgeRow(id=_ID, audit_seconds=audit_seconds, at=0.0)
        try:
            with session.begin_nested():
                session.add(last)
        except IntegrityError:
            return None
    return last
