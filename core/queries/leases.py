"""SQL for the workers' side of a job: claim, lease, fenced writes, end, expired leases. Nothing here commits.

Every write of a worker is fenced (`_fenced`, `held`): it requires the lease's token, so a worker that lost
its lease gets `LeaseLost` instead of overwriting its successor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.queries import events
from core.queries.jobs import QUEUED, of_kinds
from core.queries.states import enter
from core.session import db_now
from core.slots import ALL_KINDS
from core.tables import JobRow
from masktune.contract.vocabulary import EventType, JobKind, JobState, Stage

_FORGIVEN = {"crashes": 0, "losses": 0}
"""Values that reset the counts of crashes and losses, written with progress that is safely checkpointed."""


class LeaseLost(Exception):
    """This worker's write is rejected: another claim holds the job, or the job has ended."""


@dataclass(frozen=True)
class Lease:
    """The right to write to a job, valid while `token` equals the row's fencing token."""

    job_id: str
    token: int


def claim(
    session: Session, *, worker: str, lease_seconds: float, kinds: Collection[JobKind] = ALL_KINDS
) -> JobRow | None:
    """Claim the best queued job of these kinds (by priority, then age): raise its token and set the lease;
    None if there is none. A job that waits for an import has no `not_before`, and so is passed over."""
    chosen = (
        select(JobRow.id)
        .where(QUEUED, of_kinds(kinds), JobRow.not_before <= db_now())
        .order_by(JobRow.priority.desc(), JobRow.created_at, JobRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    job_id = session.scalar(chosen)
    if job_id is None:
        return None
    taken = session.execute(
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.state == JobState.QUEUED)
        .values(
            state=JobState.RUNNING,
            worker=worker,
            token=JobRow.token + 1,
            attempt=JobRow.attempt + 1,
            lease_until=db_now() + lease_seconds,
        )
        .returning(JobRow.id)
    ).scalar()
    if taken is None:
        return None
    enter(session, job_id, JobState.RUNNING)
    return session.get_one(JobRow, job_id, populate_existing=True)


def renew(session: Session, lease: Lease, *, lease_seconds: float) -> None:
    """Extend the lease, or raise `LeaseLost`."""
    _fenced(session, lease, lease_until=db_now() + lease_seconds)


def held(session: Session, lease: Lease, *, lock: bool = False) -> JobState:
    """The state of a job that this lease still holds (running or cancelling), else raise `LeaseLost`.

    Set `lock` before a write that depends on the state, or it would overwrite a concurrent cancel or sweep.
    """
    query = select(JobRow.state).where(
        JobRow.id == lease.job_id,
        JobRow.token == lease.token,
        JobRow.state.in_((JobState.RUNNING, JobState.CANCELLING)),
    )
    state = session.scalar(query.with_for_update() if lock else query)
    if state is None:
        raise LeaseLost(lease.job_id)
    return JobState(state)


def write_progress(session: Session, lease: Lease, progress: Mapping[str, Any], *, advanced: bool) -> None:
    """Store the newest progress; `advanced` (work was checkpointed) resets crashes and losses."""
    values: dict[str, Any] = {"progress": dict(progress)}
    if advanced:
        values |= _FORGIVEN
    _fenced(session, lease, **values)
    events.add(session, lease.job_id, EventType.PROGRESS, progress)


def start_stage(session: Session, lease: Lease, stage: Stage) -> None:
    _fenced(session, lease, stage=stage)
    events.add(session, lease.job_id, EventType.STAGE, {"stage": stage, "status": "started"})


def finish_stage(
    session: Session, lease: Lease, stage: Stage, result: Mapping[str, Any], *, occupies: int = 0
) -> JobRow:
    """Record the stage's result, and the bytes that it `occupies` in the job's folder.
    If the stage is recorded already, its result stays as it was."""
    _fenced(session, lease, **_FORGIVEN)
    row = session.get_one(JobRow, lease.job_id, populate_existing=True)
    if stage not in row.done:
        row.done = row.done | {stage.value: dict(result)}
        row.occupies = (row.occupies or 0) + occupies
        session.flush()
        events.add(
            session,
            lease.job_id,
            EventType.STAGE,
            {"stage": stage, "status": "finished", "seconds": result.get("seconds")},
        )
    return row


def set_models(session: Session, lease: Lease, models: Mapping[str, str]) -> None:
    """Add models (arm → model id) to the job."""
    row = session.get_one(JobRow, lease.job_id, populate_existing=True)
    _fenced(session, lease, models=row.models | dict(models))


def set_metrics(session: Session, lease: Lease, metrics: Mapping[str, Any]) -> None:
    """Add figures to the job and report them in an event."""
    row = session.get_one(JobRow, lease.job_id, populate_existing=True)
    _fenced(session, lease, metrics=row.metrics | dict(metrics))
    events.add(session, lease.job_id, EventType.METRICS, metrics)


def log(session: Session, lease: Lease, message: str) -> None:
    """Add a line to the job's log, as an event."""
    held(session, lease, lock=True)
    events.add(session, lease.job_id, EventType.LOG, {"message": message})


def end(
    session: Session, lease: Lease, state: JobState, *, error: Mapping[str, Any] | None = None
) -> JobState:
    """End the job and return its final state; a job that fails while being cancelled ends cancelled."""
    if held(session, lease, lock=True) is JobState.CANCELLING and state is JobState.FAILED:
        state, error = JobState.CANCELLED, None
    _fenced(
        session,
        lease,
        state=state,
        error=None if error is None else dict(error),
        lease_until=None,
        ended_at=db_now(),
    )
    enter(session, lease.job_id, state, **({} if error is None else {"error": dict(error)}))
    return state


def release(
    session: Session, lease: Lease, *, reason: str, delay: float = 0.0, crashed: bool = False
) -> JobState:
    """Put the job back into the queue; a job that is being cancelled ends cancelled instead."""
    if held(session, lease, lock=True) is JobState.CANCELLING:
        return end(session, lease, JobState.CANCELLED)
    _fenced(
        session,
        lease,
        state=JobState.QUEUED,
        worker=None,
        lease_until=None,
        not_before=db_now() + delay,
        crashes=JobRow.crashes + int(crashed),
    )
    enter(session, lease.job_id, JobState.QUEUED, reason=reason)
    return JobState.QUEUED


# --- the sweep, run by any process ----------------------------------------------------------


def requeue_expired(session: Session, *, max_attempts: int, too_many: Mapping[str, Any]) -> list[str]:
    """Settle the jobs of silent workers: cancel them, fail them after too many losses, or requeue them.

    Returns the ids of the requeued jobs. `too_many` is the error of the failed ones. The token is raised
    here, so that the silent worker's writes are rejected even before the next claim.
    """
    again = []
    expired = (
        select(JobRow)
        .where(JobRow.state.in_((JobState.RUNNING, JobState.CANCELLING)), JobRow.lease_until < db_now())
        .order_by(JobRow.id)
        .with_for_update(skip_locked=True)
    )
    for row in session.scalars(expired).all():
        row.token, row.losses = row.token + 1, row.losses + 1
        extra: dict[str, Any]
        if row.state is JobState.CANCELLING:
            state, extra = JobState.CANCELLED, {}
        elif row.losses >= max_attempts:
            state, extra = JobState.FAILED, {"error": dict(too_many)}
        else:
            state, extra = JobState.QUEUED, {"reason": "worker lost"}
            row.not_before = db_now()
            again.append(row.id)
        row.error = extra.get("error")
        row.state, row.worker, row.lease_until = state, None, None
        row.ended_at = db_now() if state.ended else None
        session.flush()
        enter(session, row.id, state, **extra)
    return again


def _fenced(session: Session, lease: Lease, **values: Any) -> None:
    """UPDATE … WHERE token = the lease's; raises `LeaseLost` if no row matches."""
    written = session.execute(
        update(JobRow)
        .where(
            JobRow.id == lease.job_id,
            JobRow.token == lease.token,
            JobRow.state.in_((JobState.RUNNING, JobState.CANCELLING)),
        )
        .values(**values)
        .returning(JobRow.id)
    ).scalar()
    if written is None:
        raise LeaseLost(lease.job_id)
