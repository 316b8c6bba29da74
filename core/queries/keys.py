"""SQL for the keys made by an admin.
Nothing here commits."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.queries.rows import add as add
from core.queries.rows import get_row
from core.session import db_now
from core.tables import KeyRow


def get(session: Session, key_id: str) -> KeyRow:
    """The key, revoked or not, or `NotFound`."""
    return get_row(session, KeyRow, key_id, "key")


def valid(session: Session) -> list[KeyRow]:
    """All keys that have not been revoked."""
    return list(session.scalars(select(KeyRow).where(KeyRow.revoked_at.is_(None))))


def revoke(session: Session, key_id: str) -> None:
    """Revoke the key, or raise `NotFound`.
    A key that was revoked before keeps its time of revocation."""
    get(session, key_id)
    session.execute(
        update(KeyRow).where(KeyRow.id == key_id, KeyRow.revoked_at.is_(None)).values(revoked_at=db_now())
    )
