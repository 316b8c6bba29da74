"""SQL for the stored responses to POSTs with an Idempotency-Key.
Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.queries.rows import delete_where, expired
from core.session import db_now
from core.tables import IdempotencyRow


def begin(session: Session, key: str, fingerprint: str, *, stale_after: float) -> IdempotencyRow | None:
    """Reserve the key and return None, or return the existing row.

    A reservation older than `stale_after` seconds belongs to a dead process and is taken over.
    """
    session.execute(
        delete(IdempotencyRow).where(
            IdempotencyRow.key == key,
            IdempotencyRow.status.is_(None),
            IdempotencyRow.at < db_now() - stale_after,
        )
    )
    while True:
        existing = session.get(IdempotencyRow, key)
        if existing is not None:
            return existing
        try:
            with session.begin_nested():
                session.add(IdempotencyRow(key=key, fingerprint=fingerprint, status=None))
        except IntegrityError:  # another request was first; it may have failed and freed the key by now
            continue
        return None


def finish(
    session: Session, key: str, *, since: float, status: int, headers: Mapping[str, str], body: bytes
) -> bool:
    """Store the response under its key.
    False if the reservation made at `since` was taken over."""
    stored = session.execute(
        update(IdempotencyRow)
        .where(*_reserved(key, since))
        .values(status=status, headers=dict(headers), body=body, at=db_now())
        .returning(IdempotencyRow.key)
    )
    return stored.first() is not None


def forget(session: Session, key: str, *, since: float) -> None:
    """Free the key of a request that created nothing, unless its reservation was taken over."""
    session.execute(delete(IdempotencyRow).where(*_reserved(key, since)))


def purge(session: Session, *, older_than: float, span: float) -> int:
    """Delete the responses older than `older_than` seconds, of these the oldest `span` seconds; return how
    many."""
    return delete_where(session, IdempotencyRow, *expired(IdempotencyRow.at, older_than, span))


def _reserved(key: str, since: float) -> tuple[ColumnElement[bool], ...]:
    return IdempotencyRow.key == key, IdempotencyRow.status.is_(None), IdempotencyRow.at == since
