"""SQL for the keys of artifacts to delete, which no row names any longer or yet.
Nothing here commits."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from core.queries.rows import insert_into
from core.session import ago, db_now
from core.tables import TrashRow


def put(session: Session, keys: Collection[str], *, after: float = 0.0) -> None:
    """Add keys, to be deleted after `after` seconds; keys that are there already stay unchanged."""
    if not keys:
        return
    # Insert in the same order everywhere, so that two transactions that add the same keys cannot deadlock.
    rows = [{"key": key, "at": db_now() + after} for key in sorted(keys)]
    session.execute(insert_into(session, TrashRow).values(rows).on_conflict_do_nothing())


def take_back(session: Session, key: str) -> bool:
    """Remove a key that a row is about to name.
    False if it is due or gone, and so may be being deleted."""
    taken = delete(TrashRow).where(TrashRow.key == key, TrashRow.at > db_now()).returning(TrashRow.key)
    return session.scalar(taken) is not None


def waits(session: Session, key: str) -> bool:
    """Whether the key is there; first waits for a concurrent `take_back` to commit or roll back."""
    return session.get(TrashRow, key, with_for_update=True) is not None


def due(session: Session, *, older_than: float, limit: int = 100) -> list[str]:
    """Keys whose time (`TrashRow.at`) passed more than `older_than` seconds ago, oldest first."""
    query = select(TrashRow.key).where(TrashRow.at < ago(older_than)).order_by(TrashRow.at).limit(limit)
    return list(session.scalars(query))


def remove(session: Session, keys: Collection[str]) -> None:
    """Remove keys whose artifacts have been deleted."""
    session.execute(delete(TrashRow).where(TrashRow.key.in_(keys)))


def put_off(session: Session, keys: Collection[str], *, ahead: float = 0.0) -> None:
    """Restart the wait of keys whose artifacts could not be deleted, shortened by `ahead` seconds."""
    session.execute(update(TrashRow).where(TrashRow.key.in_(keys)).values(at=db_now() - ahead))
