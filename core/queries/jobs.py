"""The life of a job as SQL: queue, claim, lease, fence, cancel, end, sweep. Nothing here commits.

Every write of a worker goes through `_fenced`: it says `WHERE token = mine`, and a worker whose
lease was lost is told so by `LeaseLost` instead of overwriting what came after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import String, case, cast, func, literal, or_, select, update
from sqlalchemy.orm import Session

from core.errors import JobEnded, JobNotResumable, NotFound
from core.queries import events, trash
from core.queries.paging import newest_first
from core.session import db_now
from core.tables import JobRow
from core.vocabulary import ACTIVE, RESUMABLE, EventType, JobKind, JobState, Stage

_QUEUED = JobRow.state == literal(JobState.QUEUED, JobRow.state.type, literal_execute=True)
"""Said in the text of the statement: an index of the queued alone serves no parameter."""


_FORGIVEN = {"crashes": 0, "losses": 0}
"""Written with progress that no later attempt has to make again."""


_UNRECORDED_SECONDS = 86_400.0
"""How long a model stays that a job wrote and did not come to record: a worker that was stopped may wake and
write it once more, and a job that is resumed writes it again.
"""


class LeaseLost(Exception):
    """Another claim holds the job, or it has ended: what this worker writes is refused."""


@dataclass(frozen=True)
class Lease:
    """The right to write a job: valid while `token` is the row's."""

    job_id: str
    token: int


def get(session: Session, job_id: str) -> JobRow:
    """The job, or `NotFound`."""
    row = session.get(JobRow, job_id)
    if row is None:
        raise NotFound(f"no job {job_id}; GET /jobs lists what there is")
    return row


def add(session: Session, row: JobRow) -> JobRow:
    """Queue a new job and tell so in its first event."""
    row.state = JobState.QUEUED
    session.add(row)
    session.flush()
    _enter(session, row.id, JobState.QUEUED)
    session.refresh(row)
    return row


def listing(
    session: Session,
    *,
    before: tuple[float, str] | None,
    limit: int,
    kind: JobKind | None = None,
    state: JobState | None = None,
    dataset_id: str | None = None,
) -> list[JobRow]:
    """Newest first, behind the (created_at, id) of the last one seen."""
    where = {JobRow.kind: kind, JobRow.state: state, JobRow.dataset_id: dataset_id}
    return newest_first(session, JobRow, before=before, limit=limit, where=where)


def using_dataset(session: Session, dataset_id: str) -> list[str]:
    """Ids of the jobs that have not ended and read this data set."""
    query = select(JobRow.id).where(JobRow.dataset_id == dataset_id, JobRow.state.in_(ACTIVE))
    return list(session.scalars(query))


def using_model(session: Session, model_id: str) -> list[str]:
    """Ids of the jobs that have not ended and read or make this model."""
    where = (JobRow.inputs, JobRow.params, JobRow.models)
    # The database finds who writes the id anywhere: of 100,000 that wait hardly one comes here.
    written = or_(*(cast(column, String).contains(model_id, autoescape=True) for column in where))
    found = session.execute(select(JobRow.id, *where).where(JobRow.state.in_(ACTIVE), written))
    return [row.id for row in found if model_id in _models_of(row.inputs, row.params, row.models)]


def models_read(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> set[str]:
    """Ids of the models that a job with these `inputs` and `params` reads."""
    named = (inputs.get("model"), params.get("pretrained"), params.get("second_model"))
    return {name for name in named if isinstance(name, str)}


def active_of(session: Session, owner: str) -> int:
    """How many of this caller's jobs have not ended.

    Held until the transaction ends against whoever else counts for the same owner, so that two requests
    at once cannot both take the last place: PostgreSQL by a lock on the name, SQLite by its one writer.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(owner, 0))))
    query = select(func.count()).where(JobRow.owner == owner, JobRow.state.in_(ACTIVE))
    return session.execute(query).scalar_one()


def counts(session: Session) -> dict[JobState, int]:
    """How many jobs are in each state."""
    rows = session.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
    return {JobState(state): n for state, n in rows}


def oldest_queued_seconds(session: Session) -> float:
    """How long the job that has waited longest for a worker has waited; 0 where none waits.

    From when it was queued last, which `not_before` says of one that was queued again; what is held back
    after a crash does not wait for a worker.
    """
    # As `unannounced` does: the index has all that this reads.
    now = session.scalar(select(db_now())) or 0.0
    since = case((JobRow.not_before > JobRow.created_at, JobRow.not_before), else_=JobRow.created_at)
    oldest = session.scalar(select(func.min(since)).where(_QUEUED, JobRow.not_before <= now))
    return 0.0 if oldest is None else max(0.0, now - oldest)


# --- the worker's side --------------------------------------------------------------------


def claim(session: Session, *, worker: str, lease_seconds: float) -> JobRow | None:
    """Take the best queued job (priority, then age), raise its token, and set the lease."""
    chosen = (
        select(JobRow.id)
        .where(_QUEUED, JobRow.not_before <= db_now())
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
    _enter(session, job_id, JobState.RUNNING)
    return session.get_one(JobRow, job_id, populate_existing=True)


def renew(session: Session, lease: Lease, *, lease_seconds: float) -> None:
    """Push the lease out, or raise `LeaseLost`."""
    _fenced(session, lease, lease_until=db_now() + lease_seconds)


def held(session: Session, lease: Lease, *, lock: bool = False) -> JobState:
    """The state of a job that this lease still holds (running or cancelling), else `LeaseLost`.

    Who writes by it locks it: a cancel or a sweep that came in between would be written over.
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
    """Store the newest progress; `advanced` (an epoch or stage was finished) forgives past losses."""
    values: dict[str, Any] = {"progress": dict(progress)}
    if advanced:
        values |= _FORGIVEN
    _fenced(session, lease, **values)
    events.add(session, lease.job_id, EventType.PROGRESS, progress)


def start_stage(session: Session, lease: Lease, stage: Stage) -> None:
    _fenced(session, lease, stage=stage)
    events.add(session, lease.job_id, EventType.STAGE, {"stage": stage, "status": "started"})


def finish_stage(session: Session, lease: Lease, stage: Stage, result: Mapping[str, Any]) -> JobRow:
    """Record what the stage made. A stage that was recorded before stays as it was."""
    _fenced(session, lease, **_FORGIVEN)
    row = session.get_one(JobRow, lease.job_id, populate_existing=True)
    if stage not in row.done:
        row.done = row.done | {stage.value: dict(result)}
        session.flush()
        events.add(
            session,
            lease.job_id,
            EventType.STAGE,
            {"stage": stage, "status": "finished", "seconds": result.get("seconds")},
        )
    return row


def set_models(session: Session, lease: Lease, models: Mapping[str, str]) -> None:
    """Add arms → model ids to the job."""
    row = session.get_one(JobRow, lease.job_id, populate_existing=True)
    _fenced(session, lease, models=row.models | dict(models))


def set_metrics(session: Session, lease: Lease, metrics: Mapping[str, Any]) -> None:
    """Add figures to the job and tell them."""
    row = session.get_one(JobRow, lease.job_id, populate_existing=True)
    _fenced(session, lease, metrics=row.metrics | dict(metrics))
    events.add(session, lease.job_id, EventType.METRICS, metrics)


def log(session: Session, lease: Lease, message: str) -> None:
    """A line for the person who watches."""
    held(session, lease, lock=True)
    events.add(session, lease.job_id, EventType.LOG, {"message": message})


def end(
    session: Session, lease: Lease, state: JobState, *, error: Mapping[str, Any] | None = None
) -> JobState:
    """End the job. One that is being cancelled ends cancelled unless it had succeeded already."""
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
    _enter(session, lease.job_id, state, **({} if error is None else {"error": dict(error)}))
    return state


def release(
    session: Session, lease: Lease, *, reason: str, delay: float = 0.0, crashed: bool = False
) -> JobState:
    """Give the job back to the queue; one that is being cancelled ends cancelled instead."""
    if held(session, lease, lock=True) is JobState.CANCELLING:
        return end(session, lease, JobState.CANCELLED)
    _fenced(session, lease, **_requeued(delay), crashes=JobRow.crashes + int(crashed))
    _enter(session, lease.job_id, JobState.QUEUED, reason=reason)
    return JobState.QUEUED


# --- the client's side --------------------------------------------------------------------


def cancel(session: Session, job_id: str) -> JobRow:
    """Ask for the end of a job: a queued one ends at once, a running one turns `cancelling`."""
    row = _locked(session, job_id)
    if row.state.ended:
        raise JobEnded(f"job {job_id} has {row.state.value}; there is nothing to cancel")
    if row.state is JobState.QUEUED:
        row.state, row.ended_at, row.lease_until = JobState.CANCELLED, db_now(), None
        session.flush()
        _enter(session, job_id, JobState.CANCELLED)
    elif row.state is JobState.RUNNING:
        row.state = JobState.CANCELLING
        session.flush()
        _enter(session, job_id, JobState.CANCELLING)
    session.refresh(row)
    return row


def resume(session: Session, job_id: str) -> JobRow:
    """Queue a failed or cancelled job again; its finished stages and checkpoints count."""
    row = _locked(session, job_id)
    if row.state not in RESUMABLE:
        raise JobNotResumable(f"job {job_id} is {row.state.value}; only failed or cancelled jobs resume")
    row.state, row.error, row.ended_at = JobState.QUEUED, None, None
    row.attempt, row.crashes, row.losses = 0, 0, 0
    row.not_before, row.announced_at = db_now(), None
    row.thinned_at = None  # it will have new events
    session.flush()
    trash.remove(session, _unrecorded(row))
    _enter(session, job_id, JobState.QUEUED, reason="resumed")
    session.refresh(row)
    return row


# --- anybody's side: the sweep ------------------------------------------------------------


def expired(session: Session) -> list[JobRow]:
    """Jobs whose worker fell silent, locked for the caller."""
    query = (
        select(JobRow)
        .where(JobRow.state.in_((JobState.RUNNING, JobState.CANCELLING)), JobRow.lease_until < db_now())
        .order_by(JobRow.id)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(query))


def requeue_expired(session: Session, *, max_attempts: int, too_many: Mapping[str, Any]) -> list[str]:
    """Settle the jobs of silent workers: cancelled, failed after too many losses, or queued again.

    Returns the ids of those that wait for a worker again. `too_many` is the error of those given up.
    The token is raised here already, so that the silent worker is refused even before the next claim.
    """
    again = []
    for row in expired(session):
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
        _enter(session, row.id, state, **extra)
    return again


def unannounced(session: Session, *, older_than: float, limit: int = 100) -> list[str]:
    """Queued jobs that may run and that nobody was told about lately; they are marked as told now.

    In no order: whoever is told takes the best job, whichever it was told of.
    """
    # Asked for before: no index serves a comparison with a clock that runs on, and of 100,000 that wait
    # hardly one is untold.
    now = session.scalar(select(db_now())) or 0.0
    ids: list[str] = []
    for untold in (JobRow.announced_at.is_(None), JobRow.announced_at < now - older_than):
        query = (
            select(JobRow.id)
            .where(_QUEUED, JobRow.not_before <= now, untold)
            .order_by(JobRow.announced_at)
            .limit(limit - len(ids))
            .with_for_update(skip_locked=True)
        )
        ids += session.scalars(query)
    if ids:
        session.execute(update(JobRow).where(JobRow.id.in_(ids)).values(announced_at=db_now()))
    return ids


def _models_of(
    inputs: Mapping[str, Any], params: Mapping[str, Any], models: Mapping[str, Any]
) -> set[object]:
    made = inputs.get("model_ids") or {}
    return models_read(inputs, params) | {*made.values(), *models.values()}


def _unrecorded(row: JobRow) -> list[str]:
    """Keys of the models that the job was to make and that have no row: a kill may have left files there."""
    made = row.inputs.get("model_ids") or {}
    return [f"models/{model_id}" for arm, model_id in made.items() if arm not in row.models]


def _requeued(delay: float) -> dict[str, Any]:
    return {
        "state": JobState.QUEUED,
        "worker": None,
        "lease_until": None,
        "announced_at": None,
        "not_before": db_now() + delay,
    }


def _locked(session: Session, job_id: str) -> JobRow:
    row = session.get(JobRow, job_id, with_for_update=True)
    if row is None:
        raise NotFound(f"no job {job_id}; GET /jobs lists what there is")
    return row


def _fenced(session: Session, lease: Lease, **values: Any) -> None:
    """UPDATE … WHERE token = mine; a refused one raises `LeaseLost`."""
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


def _enter(session: Session, job_id: str, state: JobState, **data: Any) -> None:
    """Stamp the time of a state and tell it."""
    row = session.get_one(JobRow, job_id, populate_existing=True)
    now = session.scalar(select(db_now()))
    row.times = row.times | {state.value: now}
    session.flush()
    if state in RESUMABLE:
        trash.put(session, _unrecorded(row), after=_UNRECORDED_SECONDS)
    events.add(session, job_id, EventType.STATE, {"state": state, "attempt": row.attempt} | data)
