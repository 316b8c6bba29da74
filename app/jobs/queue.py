"""Where requests put their jobs: within the quota of their key, and told to the workers once committed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import Depends
from sqlalchemy.orm import Session

from app.auth.idempotency import Idempotent, Once
from app.http.deps import NotifierDep, RootPathDep, SettingsDep
from core.errors import TooManyRequests
from core.notifications import JobNotifier
from core.queries import jobs
from core.session import after_commit
from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind


@dataclass(frozen=True)
class JobQueue:
    """`max_active` is how many jobs of one key may wait or run at a time; 0 is any number. `import_slots` is
    how many imports a worker runs beside its other jobs."""

    max_active: int
    import_slots: int
    notifier: JobNotifier

    def admit(self, session: Session, job: JobRow) -> None:
        """Announce this job, which the transaction has queued, once it is committed.

        Raises `TooManyRequests` if it exceeds the quota of the key that created it; the transaction is then
        rolled back. The response has no Retry-After, because nobody knows when a job ends.
        """
        most = self.max_active
        if most and job.created_by is not None and jobs.active_of(session, job.created_by) > most:
            raise TooManyRequests(
                f"this key has {most} queued or running jobs, which is its limit; "
                "wait until one ends, or cancel one"
            )
        after_commit(session, partial(self.notifier.notify, job.id))


@dataclass(frozen=True)
class JobCreation:
    """A request that creates a job: once per Idempotency-Key, for its caller."""

    once: Once
    queue: JobQueue
    root_path: str

    def add(
        self,
        session: Session,
        kind: JobKind,
        dataset_id: str,
        *,
        params: dict[str, Any],
        inputs: dict[str, Any],
        **user_fields: Any,
    ) -> JobRow:
        """Queue a job; `inputs` are those besides the data set, `user_fields` are columns that any job may
        have. Raises `TooManyRequests`."""
        job = JobRow(
            id=new_id("job"),
            kind=kind,
            created_by=self.once.caller,
            request_id=self.once.origin.request_id,
            traceparent=self.once.origin.traceparent,
            dataset_id=dataset_id,
            params=params,
            inputs={"dataset": dataset_id, **inputs},
            **user_fields,
        )
        row = jobs.add(session, job)
        self.queue.admit(session, row)
        return row


async def _queue(settings: SettingsDep, notifier: NotifierDep) -> JobQueue:
    return JobQueue(settings.max_active_jobs_per_key, settings.import_slots, notifier)


QueueDep = Annotated[JobQueue, Depends(_queue)]


async def _creation(once: Idempotent, queue: QueueDep, root_path: RootPathDep) -> JobCreation:
    return JobCreation(once, queue, root_path)


CreationDep = Annotated[JobCreation, Depends(_creation)]
