"""SQL for jobs: find, count, queue, cancel, resume, delete. Nothing here commits.

The workers' writes are in `core.queries.leases`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, cast, func, literal, or_, select, tuple_, update
from sqlalchemy.orm import Session

from core.errors import Conflict, JobEnded, JobNotResumable
from core.queries.rows import NO_FILTERS, Filters, get_row, newest_first
from core.queries.states import enter, inputs_with_new_ids
from core.session import db_now
from core.slots import IMPORTS
from core.tables import DatasetRow, JobRow, ModelRow
from core.waiting import Wait
from masktune.contract.vocabulary import ACTIVE, RESUMABLE, DatasetState, JobKind, JobState, Stage

QUEUED = JobRow.state == literal(JobState.QUEUED, JobRow.state.type, literal_execute=True)
"""Rendered literally into the SQL: a partial index on queued jobs cannot serve a bound parameter."""


def of_kinds(kinds: Collection[JobKind]) -> ColumnElement[bool]:
    """Whether the job is of one of these kinds; rendered literally, as `QUEUED`.

    Not as `IN`: for a single kind, SQLite finds the partial index by an equality alone.
    """
    literals = (literal(kind, JobRow.kind.type, literal_execute=True) for kind in sorted(kinds))
    return or_(*(JobRow.kind == kind for kind in literals))


def get(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    """The job, or `NotFound`."""
    return get_row(session, JobRow, job_id, "job", lock=lock)


def add(session: Session, row: JobRow) -> JobRow:
    """Queue a new job and write its first event."""
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
    filters: Filters = NO_FILTERS,
) -> list[JobRow]:
    """Jobs, newest first, after the (created_at, id) of the last one seen."""
    where = {JobRow.kind: kind, JobRow.state: state, JobRow.dataset_id: dataset_id}
    conditions = filters.conditions(session, JobRow)
    return newest_first(session, JobRow, before=before, limit=limit, where=where, conditions=conditions)


def wait(session: Session, row: JobRow, kinds: Collection[JobKind]) -> Wait | None:
    """What a queued job waits for among the jobs of these kinds; None if it is not queued."""
    if row.state is not JobState.QUEUED:
        return None
    as_old = tuple_(JobRow.created_at, JobRow.id) <= tuple_(row.created_at, row.id)
    before = or_(JobRow.priority > row.priority, and_(JobRow.priority == row.priority, as_old))
    count, now = select(func.count()).select_from(JobRow).where(of_kinds(kinds)), db_now()
    held = (JobRow.state.in_((JobState.RUNNING, JobState.CANCELLING)), JobRow.lease_until > now)
    ahead = (QUEUED, JobRow.not_before.is_not(None), before)
    position, running, read_at = session.execute(
        select(count.where(*ahead).scalar_subquery(), count.where(*held).scalar_subquery(), now)
    ).one()
    return Wait(
        position=position if row.not_before is not None else position + 1,  # where it is not counted itself
        running=running,
        since=None if row.not_before is None else max(row.created_at, row.not_before),
        now=read_at,
        imports_alone=set(kinds) == IMPORTS,
    )


def newest_succeeded(session: Session, *, limit: int) -> list[JobRow]:
    """Jobs that succeeded, newest first, without imports."""
    succeeded = (JobRow.state == JobState.SUCCEEDED, JobRow.kind != JobKind.IMPORT)
    query = select(JobRow).where(*succeeded).order_by(JobRow.created_at.desc(), JobRow.id.desc())
    return list(session.scalars(query.limit(limit)))


def using_dataset(session: Session, dataset_id: str) -> list[str]:
    """Ids of the active jobs that use this data set: also those that judge models which it trained."""
    is_postgres = session.get_bind().dialect.name == "postgresql"
    elements_of = func.json_array_elements_text if is_postgres else func.json_each
    trained_on = elements_of(JobRow.inputs["trained_on"]).table_valued("value")
    judges = select(trained_on.c.value).where(trained_on.c.value == dataset_id).exists()
    query = select(JobRow.id).where(or_(JobRow.dataset_id == dataset_id, judges), JobRow.state.in_(ACTIVE))
    return list(session.scalars(query))


def resumable(session: Session, **columns: object) -> list[str]:
    """Ids of the failed and cancelled jobs, of those with these values in the `columns`."""
    return list(session.scalars(select(JobRow.id).where(JobRow.state.in_(RESUMABLE)).filter_by(**columns)))


def using_model(session: Session, model_id: str) -> list[str]:
    """Ids of the active jobs that read or make this model."""
    return list(session.scalars(select(JobRow.id).where(JobRow.state.in_(ACTIVE), naming_model(model_id))))


def models_read(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> set[str]:
    """Ids of the models that a job with these `inputs` and `params` reads."""
    judged = (inputs.get("judged") or {}).values()
    named = (inputs.get("model"), params.get("pretrained"), *judged)
    return {name for name in named if isinstance(name, str)}


def naming_model(model_id: str) -> ColumnElement[bool]:
    """Whether a job reads or makes this model: then the id is in these columns, as a JSON text."""
    columns = (JobRow.inputs, JobRow.params, JobRow.models)
    return or_(*(cast(column, String).contains(f'"{model_id}"', autoescape=True) for column in columns))


def reading_job(job_id: str) -> ColumnElement[bool]:
    """Whether a job reads the mask set, the report or the checkpoints of this one."""
    models = select(ModelRow.id).where(ModelRow.job_id == job_id)
    return or_(
        JobRow.inputs["mask_set"].as_string() == job_id,
        JobRow.params["job"].as_string() == job_id,
        and_(JobRow.kind == JobKind.FINETUNE, JobRow.inputs["model"].as_string().in_(models)),
    )


def judging(session: Session, job_id: str) -> list[JobRow]:
    """The `evaluate` jobs that have judged the models of this one."""
    of_job = JobRow.params["job"].as_string() == job_id
    done = (JobRow.kind == JobKind.EVALUATE, JobRow.state == JobState.SUCCEEDED, of_job)
    return list(session.scalars(select(JobRow).where(*done)))


def number_look(session: Session, job_id: str, images: str) -> int:
    """Number, from 1, the images that judge the job's models; equal `images` repeat theirs.
    It stays taken when the judging job is deleted."""
    row = get(session, job_id, lock=True)
    judges: list[str] = row.inputs.get("judging_images", [])
    if images not in judges:
        judges = [*judges, images]
        row.inputs = row.inputs | {"judging_images": judges}
    return judges.index(images) + 1


def keep_inputs(session: Session, inputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Block the deletion of the jobs that a job with these `inputs` and `params` reads until the transaction
    ends, or raise `NotFound`."""
    for job_id in filter(None, (inputs.get("mask_set"), params.get("job"))):
        get(session, job_id, lock=True)


def chosen_sigmas(job: JobRow) -> float | None:
    """The number that the job's mask stage chose for `masking.sigmas = "auto"`, if it did."""
    choice = job.done.get(Stage.MASK, {}).get("sigmas")
    return None if choice is None else float(choice["sigmas"])


def active_of(session: Session, caller: str) -> int:
    """The number of active jobs that this caller created.

    Until the transaction ends, other counts for the same caller wait, so that two concurrent requests cannot
    both take the last place. PostgreSQL uses an advisory lock on the caller;
    SQLite has only one writer.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(caller, 0))))
    query = select(func.count()).where(JobRow.created_by == caller, JobRow.state.in_(ACTIVE))
    return session.execute(query).scalar_one()


def counts(session: Session) -> dict[JobState, int]:
    """The number of jobs in each state that occurs."""
    rows = session.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
    return {JobState(state): n for state, n in rows}


def oldest_queued_seconds(session: Session) -> float:
    """Seconds that the longest-waiting job has waited for a worker; 0 if none waits.

    The wait starts when the job was last queued (`not_before` for a requeued one).
    A job that is held back
    after a crash, or that waits for an import, does not count.
    """
    # Read the clock first: an index cannot serve a comparison with a volatile expression.
    now = session.scalar(select(db_now())) or 0.0
    since = case((JobRow.not_before > JobRow.created_at, JobRow.not_before), else_=JobRow.created_at)
    oldest = session.scalar(select(func.min(since)).where(QUEUED, JobRow.not_before <= now))
    return 0.0 if oldest is None else max(0.0, now - oldest)


# --- the client's side --------------------------------------------------------------------


def cancel(session: Session, job_id: str) -> JobRow:
    """Cancel a job: a queued one ends at once, a running one becomes `cancelling`."""
    row = get(session, job_id, lock=True)
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
    """Requeue a failed or cancelled job; it keeps its finished stages and checkpoints."""
    row = get(session, job_id, lock=True)
    if row.state not in RESUMABLE:
        raise JobNotResumable(
            f"job {job_id} is {row.state.value}; only a failed or cancelled job can be resumed"
        )
    row.state, row.error, row.ended_at = JobState.QUEUED, None, None
    row.inputs = inputs_with_new_ids(row)
    row.attempt, row.crashes, row.losses = 0, 0, 0
    row.not_before = db_now()
    row.thinned_at = None  # it will have new events
    session.flush()
    enter(session, job_id, JobState.QUEUED, reason="resumed")
    session.refresh(row)
    return row


def delete(session: Session, job_id: str) -> None:
    """Remove a job that has ended, with its events and its review, or raise `Conflict`.

    Its models and its data set stay, and name no job any longer; so do the evaluations that a
    training left with models, while those of an `evaluate` job go. The caller removes the artifacts
    after the commit.
    """
    row = get(session, job_id, lock=True)
    if not row.state.ended:
        raise Conflict(f"job {job_id} is {row.state.value}; cancel it, and delete it when it has ended")
    dataset_states = select(DatasetRow.state).where(DatasetRow.job_id == job_id).with_for_update()
    if DatasetState.IMPORTING in session.scalars(dataset_states).all():  # the next sweep closes it
        raise Conflict(f"the import by job {job_id} is still being closed; try again in a moment")
    # Locked before the look at other jobs: nobody starts one on these models meanwhile.
    evaluated = row.done.get(Stage.EVALUATE, {}).get("compared", {}).values()
    its_models = or_(ModelRow.job_id == job_id, ModelRow.id.in_(evaluated))
    models = session.scalars(
        select(ModelRow).where(its_models).order_by(ModelRow.id).with_for_update(),
    ).all()
    if users := session.scalars(select(JobRow.id).where(reading_job(job_id), JobRow.state.in_(ACTIVE))).all():
        raise Conflict(f"job {job_id} is used by {', '.join(users)}; cancel them or wait for them to end")
    session.execute(update(DatasetRow).where(DatasetRow.job_id == job_id).values(job_id=None))
    session.execute(update(ModelRow).where(ModelRow.job_id == job_id).values(job_id=None))
    for model in models:
        _forget_job(model, row)
    session.delete(row)
    session.flush()


def _forget_job(model: ModelRow, job: JobRow) -> None:
    """Take the job, or its name, from the evaluations of a locked model."""
    evaluations = dict(model.evaluations)
    of_job = evaluations.pop(job.id, None)
    if of_job is not None and job.kind is not JobKind.EVALUATE:
        evaluations[job.id] = of_job | {"job": None}
    model.evaluations = evaluations
