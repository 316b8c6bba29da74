"""The SQL tables. Times are seconds since 1970 by the database's clock; ids are those of `core.ids`."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Double, Enum, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.session import db_now
from core.vocabulary import Arm, Counted, DatasetState, JobKind, JobState, Stage

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def _word(kind: type[StrEnum], *, length: int = 16) -> Enum:
    """A word of the vocabulary as plain text: a new word must not need a migration of a type."""
    return Enum(kind, native_enum=False, create_constraint=False, length=length, values_callable=_values)


def _values(kind: type[StrEnum]) -> list[str]:
    return [word.value for word in kind]


def _where(condition: str) -> dict[str, Any]:
    """What an index is limited to, on both kinds of database."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


class Table(DeclarativeBase):
    """The base of all tables; `Table.metadata` is what the migrations are compared with."""

    type_annotation_map: ClassVar = {
        float: Double(),
        str: String(),
        dict[str, Any]: Json,
        list[str]: Json,
        JobKind: _word(JobKind),
        JobState: _word(JobState),
        Stage: _word(Stage),
        DatasetState: _word(DatasetState),
        Arm: _word(Arm),
        Counted: _word(Counted, length=32),
    }


class DatasetRow(Table):
    """A data set: what was uploaded, and what the import made of it."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    state: Mapped[DatasetState]
    format: Mapped[str] = mapped_column(String(32))
    """As asked for; the import writes what it found into `summary`."""
    source: Mapped[dict[str, Any]]
    """`{"upload": artifact key}`, `{"builtin": name}` or `{"address": url}`."""
    options: Mapped[dict[str, Any]]
    job_id: Mapped[str] = mapped_column(String(32))
    artifact: Mapped[str | None] = mapped_column(String(200))
    """Key of the packed store, once there is one."""
    classes: Mapped[list[str]] = mapped_column(default=list)
    summary: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """`splits`, `groups`, counts, the report without its list of files, the store's facts."""
    created_at: Mapped[float] = mapped_column(server_default=db_now())
    ended_at: Mapped[float | None]

    __table_args__ = (Index("datasets_newest", "created_at", "id"),)


class JobRow(Table):
    """A job. The row is the truth; the queue's message only says "look"."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[JobKind]
    state: Mapped[JobState]
    stage: Mapped[Stage | None]
    dataset_id: Mapped[str | None] = mapped_column(String(32))
    params: Mapped[dict[str, Any]]
    """Resolved in full: hyperparameters and the inputs of the kind."""
    inputs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Ids and artifact keys that the stages read: `model`, `mask_set`, `split` …"""
    done: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Finished stage → what it reported: artifact key, seconds, figures."""
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    models: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[dict[str, Any] | None]
    times: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """State → when it was last entered."""
    priority: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    """Crashes of the child since its last epoch of progress."""
    losses: Mapped[int] = mapped_column(default=0, server_default="0")
    """Workers that fell silent since then."""
    token: Mapped[int] = mapped_column(default=0)
    """Fencing token: raised by each claim; a write with an older one is refused."""
    worker: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[float | None]
    not_before: Mapped[float] = mapped_column(default=0.0)
    """No worker takes it earlier. Of a job that was queued again: since when it may be taken again."""
    announced_at: Mapped[float | None]
    event_seq: Mapped[int] = mapped_column(default=0)
    """Number of its newest event."""
    thinned_at: Mapped[float | None]
    """Since when it has only those of its events that are worth keeping."""
    owner: Mapped[str | None] = mapped_column(String(64))
    """Id of the caller who started it, whose active jobs are counted. None: from before this was kept."""
    request_id: Mapped[str | None] = mapped_column(String(64))
    """Of the request that started it: `X-Request-ID`. It stands in the lines that its worker logs."""
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """Of that request's span, where traces are made (W3C Trace Context)."""
    created_at: Mapped[float] = mapped_column(server_default=db_now())
    ended_at: Mapped[float | None]

    __table_args__ = (
        Index("jobs_newest", "created_at", "id"),
        Index("jobs_lease", "state", "lease_until"),
        Index("jobs_dataset", "dataset_id", "state"),
        Index("jobs_owner", "owner", "state"),
    )


# Of the few that wait among the many that have ended: the order in which they are claimed, and who was not
# told of. A claim of one in 100,000 that wait took 175 ms without.
Index("jobs_next", JobRow.priority.desc(), JobRow.created_at, JobRow.id, **_where("state = 'queued'"))
Index(
    "jobs_untold",
    JobRow.announced_at,
    JobRow.not_before,
    JobRow.created_at,
    **_where("state = 'queued'"),
)
Index("jobs_whole", JobRow.ended_at, **_where("ended_at IS NOT NULL AND thinned_at IS NULL"))


class EventRow(Table):
    """An event of a job. `seq` is the job's own number, taken under the row lock: no gaps, no overtaking.

    Gaps come later, of jobs that ended long ago: `core.queries.events.thin`.
    """

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(server_default=db_now())


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
    """The ERM model this one was tuned from: the other half of the pair that is served."""
    calibration: Mapped[dict[str, Any] | None]
    """`{id, artifact, n, scores}`: the tables lie in the artifact."""
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[float] = mapped_column(server_default=db_now())

    __table_args__ = (Index("models_newest", "created_at", "id"),)


class AliasRow(Table):
    """A name for a model. `version` counts its moves."""

    __tablename__ = "aliases"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    version: Mapped[int]
    updated_at: Mapped[float] = mapped_column(server_default=db_now())


class AliasMoveRow(Table):
    """One move of an alias: the history that a rollback reads."""

    __tablename__ = "alias_moves"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_id: Mapped[str | None] = mapped_column(String(32))
    """None: the alias was removed."""
    at: Mapped[float] = mapped_column(server_default=db_now())


class IdempotencyRow(Table):
    """The first answer to a POST with an Idempotency-Key. `status` is None while it is being made."""

    __tablename__ = "idempotency"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of (who, method, path, Idempotency-Key)."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of what was asked for."""
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    at: Mapped[float] = mapped_column(server_default=db_now(), index=True)


class ServedRow(Table):
    """How often something happened to the images that a model was served in one hour, over all replicas.

    Rows are added to, so that replicas need not know of each other, and the counts outlive them. No
    foreign key: a replica may write what it counted just before the model was deleted.
    """

    __tablename__ = "served"

    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    calibration_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """Empty for a model without one: counts under another calibration compare with nothing of this one."""
    hour: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Hours since 1970, of when it was written."""
    what: Mapped[Counted] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("served_hour", "hour"),)


class KeyRow(Table):
    """A key that an admin made. A revoked one stays, so that logs and jobs that name it can be understood."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    """SHA-256 of the secret, which is nowhere stored."""
    scopes: Mapped[list[str]]
    created_at: Mapped[float] = mapped_column(server_default=db_now())
    revoked_at: Mapped[float | None]


class TrashRow(Table):
    """An artifact that no row names, any more or yet, and that is to be deleted: see `core.trash`."""

    __tablename__ = "trash"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    at: Mapped[float] = mapped_column(server_default=db_now())
    """When it was put here, or could last not be deleted; of one that waits for its row, a day ahead."""
