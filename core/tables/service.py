"""The tables of the service itself: answers kept for retries, keys, the audit log, what is to be deleted."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from core.session import db_now
from core.tables.base import Table


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
    """The last purge of what has expired (`core.sweep.purge`): a single row."""

    __tablename__ = "purges"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Always 1."""
    audit_seconds: Mapped[float]
    """How long the purge kept entries of the audit log."""
    at: Mapped[float]
    """0 until there was one."""


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
