"""Keys of artifacts that nothing names, any more or yet, and that are to be deleted. Nothing here commits."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.session import ago, db_now
from core.tables import TrashRow


def put(session: Session, keys: Collection[str], *, after: float = 0.0) -> None:
    """Add keys, to be deleted after so many seconds; one that is there already stays."""
    if not keys:
        return
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    # In one order everywhere: two who add the same keys must not wait for each other.
    rows = [{"key": key, "at": db_now() + after} for key in sorted(keys)]
    session.execute(insert(TrashRow).values(rows).on_conflict_do_nothing())


def take_back(session: Session, key: str) -> bool:
    """Forget a key that a row is about to name. False where it is due, or gone: it may be being deleted."""
    taken = delete(TrashRow).where(TrashRow.key == key, TrashRow.at > db_now()).returning(TrashRow.key)
    return session.scalar(taken) is not None


def waits(session: Session, key: str) -> bool:
    """Whether the key is there, once whoever is taking it back has committed or given up."""
    return session.get(TrashRow, key, with_for_update=True) is not None


def due(session: Session, *, older_than: float, limit: int = 100) -> list[str]:
    """Keys that nobody has tried to delete for so many seconds."""
    query = select(TrashRow.key).where(TrashRow.at < ago(older_than)).order_by(TrashRow.at).limit(limit)
    return list(session.scalars(query))


def remove(session: Session, keys: Collection[str]) -> None:
    """Forget keys whose artifacts are deleted."""
    session.execute(delete(TrashRow).where(TrashRow.key.in_(keys)))


def put_off(session: Session, keys: Collection[str], *, ahead: float = 0.0) -> None:
    """Let keys whose artifacts could not be deleted wait again, so many seconds less than others."""
    session.execute(update(TrashRow).where(TrashRow.key.in_(keys)).values(at=db_now() - ahead))
