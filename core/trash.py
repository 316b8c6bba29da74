"""Artifacts that go with the rows that named them.

Their keys are written down in the transaction that removes the rows, and deleted once it has held. What a
kill or a store that is away leaves undone, the sweep does.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial

from sqlalchemy.orm import Session

from core.artifacts import Artifacts
from core.queries import trash
from core.session import Database, after_commit
from core.settings import Settings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
"""How long the sweep leaves a key alone: whoever removed its row is deleting it, or the store is away."""


def discard(session: Session, database: Database, artifacts: Artifacts, keys: Collection[str]) -> None:
    """Delete the artifacts once this session's transaction has been committed. Nothing may name them then."""
    trash.put(session, keys)
    after_commit(session, partial(_delete, database, artifacts, keys))


def empty(database: Database, settings: Settings) -> None:
    """Delete what was left undone a while ago."""
    with database.read() as session:
        keys = trash.due(session, older_than=RETRY_SECONDS)
    if keys:
        _delete(database, Artifacts(settings.storage, cache=settings.scratch / "cache"), keys)


def _delete(database: Database, artifacts: Artifacts, keys: Collection[str]) -> None:
    """One after the other, up to the first that fails: a store that is away may take minutes for each."""
    left = list(keys)
    while left and _is_deleted(artifacts, left[0]):
        del left[0]
    with database.begin() as session:
        trash.remove(session, [key for key in keys if key not in left])
        trash.put_off(session, left[:1])
        trash.put_off(session, left[1:], ahead=1.0)  # or a key that always fails would hold them up


def _is_deleted(artifacts: Artifacts, key: str) -> bool:
    try:
        artifacts.delete(key)
    except Exception as error:  # noqa: BLE001  # a store's driver has errors of its own; the key is kept
        logger.warning("%s could not be deleted (%s); the sweep will", key, error)
        return False
    return True
