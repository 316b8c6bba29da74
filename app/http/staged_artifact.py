"""An artifact that stays only if the row that names it is committed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.errors import Unavailable
from core.queries import trash
from core.session import Database
from core.storage.artifacts import Artifacts
from core.storage.trash import discard

logger = logging.getLogger(__name__)

LONGEST_SECONDS = 86_400.0
"""Limit of the block's duration, after which the sweep deletes what a killed process has stored."""


@contextmanager
def staged_artifact(
    database: Database, artifacts: Artifacts, key: str
) -> Iterator[Callable[[Session], None]]:
    """Guard a block that stores the artifact and then writes the row that names it.

    Yields `confirm`, which must be called in that row's transaction. Until the commit, the key is in the
    trash. If the process is killed, the sweep deletes the artifact; if only the response to the COMMIT is
    lost, the artifact stays.
    """
    with database.begin() as session:
        trash.put(session, [key], after=LONGEST_SECONDS)

    def confirm(session: Session) -> None:
        if not trash.take_back(session, key):  # the sweep may be deleting it
            raise Unavailable("storing the file took more than a day; send it again")

    try:
        yield confirm
    finally:
        _discard_unless_confirmed(database, artifacts, key)


def _discard_unless_confirmed(database: Database, artifacts: Artifacts, key: str) -> None:
    """Delete the artifact, unless its row was committed: perhaps without this process learning of it."""
    try:
        with database.begin() as session:
            if trash.waits(session, key):
                discard(session, database, artifacts, [key])
    except SQLAlchemyError as error:
        logger.warning(
            "whether a row names %s cannot be asked (%s); if none does, the sweep deletes it", key, error
        )
