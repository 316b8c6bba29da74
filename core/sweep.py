"""What heals the queue: run every few seconds by every worker and every front, as often as they like.

It settles the jobs of silent workers, tells the workers again of jobs that wait, and forgets what
has served its time. It is idempotent, and two of them at once do no harm.
"""

from __future__ import annotations

import logging
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import JobError, problem
from core.queries import datasets, events, idempotency, jobs, leases, served
from core.queue import Doorbell
from core.session import Database, after_commit
from core.settings import Settings
from core.tables import DatasetRow, JobRow
from core.vocabulary import ENDED, DatasetState

logger = logging.getLogger(__name__)

REMEMBER_ANSWERS_SECONDS = 24 * 3600.0
"""How long an Idempotency-Key replays its first answer."""

REMEMBER_SERVED_SECONDS = 90 * 24 * 3600.0
"""How long the counts of what a model was served are kept."""

THINNED_AT_A_TIME = 5
"""Jobs whose events one sweep thins out: on SQLite nobody else writes meanwhile."""


def sweep(database: Database, doorbell: Doorbell, settings: Settings) -> None:
    """Put right, in one transaction, whatever a lost worker, message or process left behind; then thin out
    the events of a few jobs that ended long ago.

    It asks the database alone. What asks a store is `core.housekeeping`, which nothing here may wait for.
    """
    with database.begin() as session:
        for job_id in leases.requeue_expired(
            session, max_attempts=settings.max_attempts, too_many=_too_many(settings.max_attempts)
        ):
            logger.warning("job %s lost its worker and is queued again", job_id)
        close_imports(session)
        idempotency.purge(session, older_than=REMEMBER_ANSWERS_SECONDS)
        served.purge(session, older_than=REMEMBER_SERVED_SECONDS)
        if untold := jobs.unannounced(session, older_than=settings.reannounce_seconds):
            after_commit(session, partial(doorbell.ring_again, untold))
    with database.begin() as session:
        events.thin(session, older_than=settings.progress_days * 86_400, at_a_time=THINNED_AT_A_TIME)


def close_imports(session: Session, job_id: str | None = None) -> None:
    """Turn data sets whose import has ended without them `invalid`, with the reason in their report.

    Those of every job, or of this one. One that another transaction holds, to delete it or to close it as
    well, is left to that one or to the next sweep.
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
            summary={"error": job.error or problem(JobError, f"the import was {job.state.value}")},
            ready=False,
        )


def _too_many(losses: int) -> dict[str, object]:
    return problem(
        JobError,
        f"the job was given up: {losses} workers in a row fell silent without an epoch of progress; check "
        "the workers' logs and memory, then POST /jobs/{id}/resume: it resumes from its last checkpoint",
        extra={"reason": "too_many_attempts"},
    )
