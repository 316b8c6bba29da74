"""Keys that an admin made, as SQL. Nothing here commits."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.queries.paging import newest_first
from core.session import db_now
from core.tables import KeyRow


def get(session: Session, key_id: str) -> KeyRow:
    """The key, revoked or not, or `NotFound`."""
    row = session.get(KeyRow, key_id)
    if row is None:
        raise NotFound(f"no key {key_id}; GET /keys lists what there is")
    return row


def add(session: Session, row: KeyRow) -> KeyRow:
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def listing(session: Session, *, before: tuple[float, str] | None, limit: int) -> list[KeyRow]:
    """Newest first, behind the (created_at, id) of the last one seen; revoked ones too."""
    return newest_first(session, KeyRow, before=before, limit=limit)


def valid(session: Session) -> list[KeyRow]:
    """Every key that may still be used."""
    return list(session.scalars(select(KeyRow).where(KeyRow.revoked_at.is_(None))))


def revoke(session: Session, key_id: str) -> None:
    """From now on it opens nothing, or `NotFound`. A key that was revoked before keeps its time."""
    get(session, key_id)
    session.execute(
        update(KeyRow).where(KeyRow.id == key_id, KeyRow.revoked_at.is_(None)).values(revoked_at=db_now())
    )
