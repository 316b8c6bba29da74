"""Deletes artifacts together with the rows that name them.

The keys are recorded in the transaction that removes the rows; the artifacts are deleted after its commit.
What remains, because of a kill or an unreachable store, is deleted later by the maintenance.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial

from sqlalchemy.orm import Session

from core.queries import trash
from core.session import Database, after_commit
from core.settings import Settings
from core.storage.artifacts import Artifacts

logger = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
"""How long `empty` leaves a key alone: it is being deleted after its commit, or the store is unreachable."""


def discard(session: Session, database: Database, artifacts: Artifacts, keys: Collection[str]) -> None:
    """Delete the artifacts once this session's transaction has been committed; no row may name them then."""
    trash.put(session, keys)
    after_commit(session, partial(_delete, database, artifacts, keys))


def empty(database: Database, settings: Settings) -> None:
    """Delete the artifacts whose keys are due."""
    with database.read() as session:
        keys = trash.due(session, older_than=RETRY_SECONDS)
    if keys:
        _delete(database, Artifacts(settings.storage, cache=settings.scratch / "cache"), keys)


def _delete(database: Database, artifacts: Artifacts, keys: Collection[str]) -> None:
    """Delete in order and stop at the first failure: an unreachable store may take minutes for each key."""
    left = list(keys)
    while left and _is_deleted(artifacts, left[0]):
        del left[0]
    with database.begin() as session:
        trash.remove(session, [key for key in keys if key not in left])
        trash.put_off(session, left[:1])
        trash.put_off(session, left[1:], ahead=1.0)  # due before left[0], which may fail every time


def _is_deleted(artifacts: Artifacts, key: str) -> bool:
    try:
        artifacts.delete(key)
    except Exception as error:  # noqa: BLE001  # store drivers raise their own exceptions; keep the key
        logger.warning("%s could not be deleted (%s); the sweep will", key, error)
        return False
    return True
