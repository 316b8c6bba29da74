"""Job quotas: limits how many jobs of one key may wait or run at a time, counted from their rows."""

from __future__ import annotations

from sqlalchemy.orm import Session

from core.errors import TooManyRequests
from core.queries import jobs
from core.settings import Settings
from core.tables import JobRow


def check(session: Session, settings: Settings, job: JobRow) -> None:
    """Raise `TooManyRequests` if this job, which was just queued, exceeds its owner's quota.

    Call it in the transaction that queues the job, which is then rolled back. The response has no
    Retry-After, because nobody knows when a job ends.
    """
    most = settings.max_active_jobs_per_key
    if most and job.owner is not None and jobs.active_of(session, job.owner) > most:
        raise TooManyRequests(
            f"this key has {most} queued or running jobs, which is its limit; "
            "wait until one ends, or cancel one"
        )
