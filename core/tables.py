"""The SQL tables. Times: seconds since 1970 by the database's clock; ids: `masktune.contract.ids`."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Double, Enum, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.session import db_now
from masktune.contract.vocabulary import Arm, DatasetState, JobKind, JobState, Stage, UsageKind

Json = JSON(none_as_null=True)
"""On PostgreSQL not JSONB, which forgets the order of keys: so a resource has the same bytes on both."""


def _word(kind: type[StrEnum], *, length: int = 16) -> Enum:
    """A word of the vocabulary, stored as plain text so that a new word needs no migration of a type."""
    return Enum(kind, native_enum=False, create_constraint=False, length=length, values_callable=_values)


def _values(kind: type[StrEnum]) -> list[str]:
    return [word.value for word in kind]


def _where(condition: str) -> dict[str, Any]:
    """The condition of a partial index, for both kinds of database."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


def _user_metadata() -> Any:
    """The column `metadata`, a name that SQLAlchemy keeps for itself: the users' own pairs of texts."""
    return mapped_column("metadata", default=dict)


class Table(DeclarativeBase):
    """The base class of all tables; migrations are compared with `Table.metadata`."""

    type_annotation_map: ClassVar = {
        float: Double(),
        str: String(),
        dict[str, Any]: Json,
        list[str]: Json,
        JobKind: _word(JobKind),
        JobState: _word(JobState),
        Stage: _word(Stage),
        DatasetState: _word(DatasetState),
        Arm: _word(Arm, length=32),
        UsageKind: _word(UsageKind, length=32),
    }


class DatasetRow(Table):
    """A data set: its source, and what the import made of it."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    state: Mapped[DatasetState]
    format: Mapped[str] = mapped_column(String(32))
    """The requested format; the import writes the detected one to `summary`."""
    source: Mapped[dict[str, Any]]
    """`{"upload": artifact key}`, `{"builtin": name}`, `{"dataset": id}` or `{"address": url}`."""
    options: Mapped[dict[str, Any]]
    job_id: Mapped[str] = mapped_column(String(32))
    artifact: Mapped[str | None] = mapped_column(String(200))
    """Key of the packed store; None until the import has written it."""
    classes: Mapped[list[str]] = mapped_column(default=list)
    summary: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The import's report without its lists of files: `splits`, `groups`, counts, facts about the store."""
    user_metadata: Mapped[dict[str, Any]] = _user_metadata()
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
    not_before: Mapped[float] = mapped_column(default=0.0)
    """No worker claims the job earlier; for a requeued job, this is when its wait for a worker starts."""
    event_seq: Mapped[int] = mapped_column(default=0)
    """Number of the job's newest event."""
    thinned_at: Mapped[float | None]
    """When the job's events were thinned; see `core.queries.events.thin`."""
    name: Mapped[str | None] = mapped_column(String(100))
    user_metadata: Mapped[dict[str, Any]] = _user_metadata()
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
        Index("jobs_dataset", "dataset_id", "state"),
        Index("jobs_created_by", "created_by", "state"),
    )


# A partial index on the few queued jobs among the many that have ended, in the order of their claims. Without
# it, a claim among 100,000 queued jobs took 175 ms.
Index("jobs_next", JobRow.priority.desc(), JobRow.created_at, JobRow.id, **_where("state = 'queued'"))
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
    """An event of a job. `seq` counts per job, under the lock of the job's row: without gaps, and in order.

    Gaps appear only when the events of a long-ended job are thinned (`core.queries.events.thin`).
    """

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(server_default=db_now())


class ReviewRow(Table):
    """What a person said of the images that a job's report lists; a later review of the job replaces it."""

    __tablename__ = "reviews"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    answers: Mapped[dict[str, Any]]
    """Number of the sample → whether it lacks the pattern of its class."""
    created_by: Mapped[str | None] = mapped_column(String(64))
    """Public id of the caller who answered."""
    created_by_name: Mapped[str | None] = mapped_column(String(100))
    updated_at: Mapped[float] = mapped_column(server_default=db_now())


class ModelRow(Table):
    """A trained or imported network."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    dataset_id: Mapped[str | None] = mapped_column(String(32), index=True)
    job_id: Mapped[str | None] = mapped_column(String(32), index=True)
    arm: Mapped[Arm]
    backbone: Mapped[str] = mapped_column(String(200))
    classes: Mapped[list[str]]
    image_size: Mapped[int]
    artifact: Mapped[str] = mapped_column(String(200))
    """Key of the folder with `model.safetensors` and `model.json`."""
    erm_id: Mapped[str | None] = mapped_column(String(32))
    """The ERM model that this one was made from; the two are served as a pair."""
    calibration: Mapped[dict[str, Any] | None]
    """`{id, artifact, n, scores}`; the tables themselves are in the artifact."""
    drift: Mapped[dict[str, Any] | None]
    """`{calibration, status, found_at, acknowledged_at, acknowledged_by}`: what is known of the inputs under
    that calibration, and nothing under another. Written only when it changes, by whoever counts inputs."""
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    name: Mapped[str | None] = mapped_column(String(100))
    user_metadata: Mapped[dict[str, Any]] = _user_metadata()
    created_by: Mapped[str | None] = mapped_column(String(64))
    """Id of the caller that imported it or started its job; None if no request did."""
    created_at: Mapped[float] = mapped_column(server_default=db_now())

    __table_args__ = (Index("models_newest", "created_at", "id"),)


class AliasRow(Table):
    """A name for a model. `version` counts the alias's moves."""

    __tablename__ = "aliases"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    version: Mapped[int]
    updated_at: Mapped[float] = mapped_column(server_default=db_now())


class AliasMoveRow(Table):
    """One move of an alias, as history for rollbacks."""

    __tablename__ = "alias_moves"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_id: Mapped[str | None] = mapped_column(String(32))
    """None if the alias was removed."""
    created_by: Mapped[str | None] = mapped_column(String(64))
    """Id of the caller that moved it; None if no request did."""
    at: Mapped[float] = mapped_column(server_default=db_now())


class IdempotencyRow(Table):
    """The first response to a POST with an Idempotency-Key; `status` is None while it is in progress."""

    __tablename__ = "idempotency"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of (caller, method, path, Idempotency-Key)."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the request's content."""
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    at: Mapped[float] = mapped_column(server_default=db_now(), index=True)


class PurgeRow(Table):
    """The last purge of what has expired (`core.queries.purges`): a single row."""

    __tablename__ = "purges"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Always 1."""
    audit_seconds: Mapped[float]
    """How long the purge kept entries of the audit log."""
    at: Mapped[float]
    """0 until there was one."""


class ServedRow(Table):
    """An hourly count of one kind of outcome for the images that a model was served, over all replicas.

    Replicas add to the rows, so they need not coordinate, and the counts outlive them. There is no foreign
    key, since a replica may write its last counts after the model was deleted.
    """

    __tablename__ = "served"

    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    calibration_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """Empty for a model without a calibration. Counts under different calibrations are not comparable."""
    hour: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """The hour in which the count was written, in hours since 1970."""
    what: Mapped[UsageKind] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("served_hour", "hour"),)


class DriftRow(Table):
    """The inputs of a model that drift is judged by. Whoever changes the row has locked that of the model."""

    __tablename__ = "drift"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    calibration_id: Mapped[str] = mapped_column(String(40))
    """Inputs under an earlier calibration are forgotten."""
    windows: Mapped[dict[str, Any]]
    """`models.selective.Windows`, as JSON."""
    look: Mapped[dict[str, Any] | None]
    """`{at, inputs, level, tests}`: the look that found drift, else the last one."""


class KeyRow(Table):
    """An API key made by an admin. A revoked key is kept, so that logs and jobs that name it make sense."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    owner: Mapped[str | None] = mapped_column(String(100))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    """SHA-256 of the secret, which itself is not stored."""
    scopes: Mapped[list[str]]
    created_at: Mapped[float] = mapped_column(server_default=db_now())
    revoked_at: Mapped[float | None]


class AuditRow(Table):
    """A change that a caller made. Rows are added and, once they are old, deleted; they never change."""

    __tablename__ = "audit"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    actor: Mapped[str] = mapped_column(String(64))
    """Id of the caller's key, `user:` and the name of a person, `operator` for a key of the operator,
    `anyone` where no key is needed."""
    actor_name: Mapped[str | None] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(64))
    """The operation's id in the API's document: `delete_dataset`."""
    object: Mapped[str] = mapped_column(String(100))
    """The id or the name in the request's path, or the id of what the request created."""
    status: Mapped[int]
    """Of the answer."""
    request_id: Mapped[str] = mapped_column(String(64))
    address: Mapped[str | None] = mapped_column(String(64))
    """The client's, as the proxy in front reports it; None on a Unix socket."""
    created_at: Mapped[float] = mapped_column(server_default=db_now())

    __table_args__ = (Index("audit_newest", "created_at", "id"),)


class TrashRow(Table):
    """An artifact to delete, because no row names it any longer, or none yet: see `core.storage.trash`."""

    __tablename__ = "trash"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    at: Mapped[float] = mapped_column(server_default=db_now())
    """When the key was added or its last deletion failed; a day ahead if its row may still be written."""
