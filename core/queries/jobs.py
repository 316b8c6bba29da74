"""Jobs as SQL: found, counted, queued, announced, cancelled, resumed. Nothing here commits.

What workers write is in `core.queries.leases`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import String, case, cast, func, literal, or_, select, update
from sqlalchemy.orm import Session

from core.errors import JobEnded, JobNotResumable, NotFound
from core.queries.paging import newest_first
from core.queries.states import enter, renamed
from core.session import db_now
from core.tables import JobRow
from core.vocabulary import ACTIVE, RESUMABLE, JobKind, JobState

QUEUED = JobRow.state == literal(JobState.QUEUED, JobRow.state.type, literal_execute=True)
"""Said in the text of the statement: an index of the queued alone serves no parameter."""


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
    enter(session, row.id, JobState.QUEUED)
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
    oldest = session.scalar(select(func.min(since)).where(QUEUED, JobRow.not_before <= now))
    return 0.0 if oldest is None else max(0.0, now - oldest)


# --- the client's side --------------------------------------------------------------------


def cancel(session: Session, job_id: str) -> JobRow:
    """Ask for the end of a job: a queued one ends at once, a running one turns `cancelling`."""
    row = _locked(session, job_id)
    if row.state.ended:
        raise JobEnded(f"job {job_id} is {row.state.value}; there is nothing to cancel")
    if row.state is JobState.QUEUED:
        row.state, row.ended_at, row.lease_until = JobState.CANCELLED, db_now(), None
        session.flush()
        enter(session, job_id, JobState.CANCELLED)
    elif row.state is JobState.RUNNING:
        row.state = JobState.CANCELLING
        session.flush()
        enter(session, job_id, JobState.CANCELLING)
    session.refresh(row)
    return row


def resume(session: Session, job_id: str) -> JobRow:
    """Queue a failed or cancelled job again; its finished stages and checkpoints count."""
    row = _locked(session, job_id)
    if row.state not in RESUMABLE:
        raise JobNotResumable(f"job {job_id} is {row.state.value}; only failed or cancelled jobs resume")
    row.state, row.error, row.ended_at = JobState.QUEUED, None, None
    row.inputs = renamed(row)
    row.attempt, row.crashes, row.losses = 0, 0, 0
    row.not_before, row.announced_at = db_now(), None
    row.thinned_at = None  # it will have new events
    session.flush()
    enter(session, job_id, JobState.QUEUED, reason="resumed")
    session.refresh(row)
    return row


# --- anybody's side: the sweep ------------------------------------------------------------


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
            .where(QUEUED, JobRow.not_before <= now, untold)
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


def _locked(session: Session, job_id: str) -> JobRow:
    row = session.get(JobRow, job_id, with_for_update=True)
    if row is None:
        raise NotFound(f"no job {job_id}; GET /jobs lists what there is")
    return row
