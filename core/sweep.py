"""The sweep, which repairs the queue: every worker and every front runs it every few seconds.

It settles the jobs of silent workers and deletes expired records. It is idempotent, and concurrent sweeps do
no harm.
"""

from __future__ import annotations

import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import problem
from core.queries import datasets, events, leases, purges
from core.session import Database
from core.settings import Settings
from core.tables import DatasetRow, JobRow
from masktune.contract.problems import ErrorCode
from masktune.contract.vocabulary import ENDED, DatasetState

logger = logging.getLogger(__name__)

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
            f"the job was given up: {most} workers in a row fell silent without an epoch of progress; check "
            "the workers' logs and memory, then POST /jobs/{id}/resume: it resumes from its last checkpoint",
            extra={"reason": "too_many_attempts"},
        )
        for job_id in leases.requeue_expired(session, max_attempts=most, too_many=too_many):
            logger.warning("job %s lost its worker and is queued again", job_id)
        close_imports(session)
        purges.purge(session, audit_seconds=settings.audit_days * 86_400)
    with database.begin() as session:
        events.thin(session, older_than=settings.progress_days * 86_400, at_a_time=THINNED_AT_A_TIME)


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
