"""Keys of artifacts that nothing names any more and that are still to be deleted. Nothing here commits."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.session import ago, db_now
from core.tables import TrashRow


def put(session: Session, keys: Collection[str]) -> None:
    """Add keys; one that is there already stays."""
    if not keys:
        return
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    # In one order everywhere: two who add the same keys must not wait for each other.
    rows = [{"key": key} for key in sorted(keys)]
    session.execute(insert(TrashRow).values(rows).on_conflict_do_nothing())


def due(session: Session, *, older_than: float, limit: int = 100) -> list[str]:
    """Keys that nobody has tried to delete for so many seconds."""
    query = select(TrashRow.key).where(TrashRow.at < ago(older_than)).order_by(TrashRow.at).limit(limit)
    return list(session.scalars(query))


def remove(session: Session, keys: Collection[str]) -> None:
    """Forget keys whose artifacts are deleted."""
    session.execute(delete(TrashRow).where(TrashRow.key.in_(keys)))


def put_off(session: Session, keys: Collection[str]) -> None:
    """Let keys whose artifacts could not be deleted wait again."""
    session.execute(update(TrashRow).where(TrashRow.key.in_(keys)).values(at=db_now()))
