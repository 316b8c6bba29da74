"""Job quotas: how many jobs of one key may wait or run at a time, counted in the rows themselves."""

from __future__ import annotations

from sqlalchemy.orm import Session

from core.errors import TooManyRequests
from core.queries import jobs
from core.settings import Settings
from core.tables import JobRow


def check(session: Session, settings: Settings, job: JobRow) -> None:
    """Raise `TooManyRequests` when this job, which was queued just now, is one too many of its owner's.

    To be asked in the transaction that queues it, which is then rolled back. The answer has no
    Retry-After: nobody knows when a job ends, and a client that waited as told would wait in vain.
    """
    most = settings.max_active_jobs_per_key
    if most and job.owner is not None and jobs.active_of(session, job.owner) > most:
        raise TooManyRequests(
            f"this key has {most} queued or running jobs, which is its limit; "
            "wait until one ends, or cancel one"
        )
