"""The tables of data sets and of jobs, with their events and reviews."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from core.session import db_now
from core.tables.base import Table, user_metadata
from masktune.contract.vocabulary import DatasetState, JobKind, JobState, Stage


def _where(condition: str) -> dict[str, Any]:
    """The condition of a partial index, for both kinds of database."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


class DatasetRow(Table):
    """A data set: its source, and what the import made of it."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    state: Mapped[DatasetState]
    format: Mapped[str] = mapped_column(String(32))
    """The requested format; the import writes the detected one to `summary`."""
    source: Mapped[dict[str, Any]]
    """`{"upload": artifact key}`, `{"builtin": name}`, `{"dataset": id}`, which an `"upload"` of
    images may add to, or `{"address": url}`."""
    options: Mapped[dict[str, Any]]
    job_id: Mapped[str | None] = mapped_column(String(32))
    """The import job; None once it was deleted."""
    artifact: Mapped[str | None] = mapped_column(String(200))
    """Key of the packed store; None until the import has written it."""
    labelled: Mapped[bool] = mapped_column(default=True)
    classes: Mapped[list[str]] = mapped_column(default=list)
    summary: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The import's report without its lists of files: `splits`, `groups`, counts, facts about the store."""
    occupies: Mapped[int | None] = mapped_column(BigInteger)  # bytes of its own files in the store
    user_metadata: Mapped[dict[str, Any]] = user_metadata()
    created_by: Mapped[str | None] = mapped_column(String(64))
    """Id of the caller that created it; None if no request did."""
    created_at: Mapped[float] = mapped_column(server_default=db_now())
    ended_at: Mapped[float | None]

    __table_args__ = (Index("datasets_newest", "created_at", "id"),)


class JobRow(Table):
    """A job. The row is the truth about it; the queue's message only says "look"."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[JobKind]
    state: Mapped[JobState]
    stage: Mapped[Stage | None]
    dataset_id: Mapped[str | None] = mapped_column(String(32))
    params: Mapped[dict[str, Any]]
    """All parameters, with defaults filled in: hyperparameters and the inputs of the job's kind."""
    request: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The body of the request that started the job; empty if none did."""
    inputs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Ids and names that the stages read: `model`, `mask_set`, `split` …"""
    done: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Finished stage → its result: artifact key, seconds, figures."""
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    models: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[dict[str, Any] | None]
    times: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """State → when the job last entered it."""
    priority: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    """Crashes of the job's child since its last finished epoch."""
    losses: Mapped[int] = mapped_column(default=0)
    """Workers that fell silent while holding the job since its last finished epoch."""
    token: Mapped[int] = mapped_column(default=0)
    """Fencing token, raised by each claim; a write with an older token is rejected."""
    worker: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[float | None]
    not_before: Mapped[float | None] = mapped_column(default=0.0)
    """No worker claims the job earlier; for a requeued job, this is when its wait for a worker starts. None
    while it waits for the import of its data set, which ends that wait (`core.queries.datasets.finish`)."""
    event_seq: Mapped[int] = mapped_column(default=0)
    """Number of the job's newest event."""
    thinned_at: Mapped[float | None]
    """When the job's events were thinned; see `core.queries.events.thin`."""
    # Bytes that its finished stages have put into its own folder of the store; None before the first.
    occupies: Mapped[int | None] = mapped_column(BigInteger)
    name: Mapped[str | None] = mapped_column(String(100))
    user_metadata: Mapped[dict[str, Any]] = user_metadata()
    created_by: Mapped[str | None] = mapped_column(String(64))
    """Id of the caller that started the job, for the limit on active jobs too; None if no request did."""
    request_id: Mapped[str | None] = mapped_column(String(64))
    """`X-Request-ID` of the request that started the job; it appears in the worker's log lines."""
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """Trace context of that request's span, if tracing is on (W3C Trace Context)."""
    created_at: Mapped[float] = mapped_column(server_default=db_now())
    ended_at: Mapped[float | None]

    __table_args__ = (
        Index("jobs_newest", "created_at", "id"),
        Index("jobs_lease", "state", "lease_until"),
        # Of the filters that the dashboard offers: without them a page with few matches read the whole table.
        Index("jobs_dataset", "dataset_id", "state", "created_at", "id"),
        Index("jobs_dataset_newest", "dataset_id", "created_at", "id"),
        Index("jobs_kind", "kind", "state", "created_at", "id"),
        Index("jobs_kind_newest", "kind", "created_at", "id"),
        Index("jobs_state_newest", "state", "created_at", "id"),
        Index("jobs_created_by", "created_by", "state"),
    )


# A partial index on the few queued jobs among the many that have ended, in the order of their claims. Without
# it, a claim among 100,000 queued jobs took 175 ms. Those that wait for an import are not in it: each claim
# would read past all of them.
Index(
    "jobs_next",
    JobRow.priority.desc(),
    JobRow.created_at,
    JobRow.id,
    **_where("state = 'queued' AND not_before IS NOT NULL"),
)
# The same for the slots that look for imports alone, among as many queued trainings.
Index(
    "jobs_next_import",
    JobRow.priority.desc(),
    JobRow.created_at,
    JobRow.id,
    **_where("state = 'queued' AND kind = 'import'"),
)
Index("jobs_whole", JobRow.ended_at, **_where("ended_at IS NOT NULL AND thinned_at IS NULL"))


class EventRow(Table):
    """An event of a job.
    `seq` counts per job, under the lock of the job's row: without gaps, and in order.

    Gaps appear only when the events of a long-ended job are thinned (`core.queries.events.thin`).
    """

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(server_default=db_now())


class PassRow(Table):
    """A pass over images in shards that a running job makes, one at a time.
    It goes when the job enters another state."""

    __tablename__ = "passes"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    # The fencing token of the attempt at the job.
    token: Mapped[int]
    # The parent of the artifacts of its shards.
    key: Mapped[str] = mapped_column(String(200))
    # What rebuilds it in another process: `worker.protocol.PassSpec` as JSON.
    spec: Mapped[dict[str, Any]]
    # Of the shards that are missing at its start.
    numbers: Mapped[list[int]] = mapped_column(deferred=True)
    # How many these are.
    shards: Mapped[int]
    taken: Mapped[int] = mapped_column(default=0)
    """How many of the numbers, from the first on, somebody has begun; more than `shards` if the last one
    asked for more than were left."""


class ImageAnswersRow(Table):
    """What a person said of the images that a job's report lists; a later review of the job replaces it."""

    __tablename__ = "reviews"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    answers: Mapped[dict[str, Any]]
    """Number of the sample → whether it lacks the pattern of its class; null: its label is right."""
    needed: Mapped[int | None]
    """As in `masktune.contract.image_answers.ImageAnswers`."""
    created_by: Mapped[str | None] = mapped_column(String(64))
    """Public id of the caller who answered."""
    created_by_name: Mapped[str | None] = mapped_column(String(100))
    updated_at: Mapped[float] = mapped_column(server_default=db_now())
