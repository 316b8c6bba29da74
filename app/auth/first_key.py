"""The first admin key of a service whose operator has named none, so that nobody has to invent a secret."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.auth.keyring import digest_of, new_secret
from core.queries import keys
from core.session import Database
from core.tables import DatasetRow, KeyRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Scope

NAME = "first key"


class DatabaseLost(Exception):
    """The key was made before, and the database is a new one."""


def ensure_first_key(database: Database, file: Path) -> bool:
    """Make the key unless it was made before: its secret in `file`, for this user alone, and its row.

    Returns whether it was made now. A revoked key stays revoked. Raises `DatabaseLost`, and changes nothing,
    if `file` is from an earlier database and this one is empty.
    """
    unconfirmed = file.with_name(f"{file.name}.new")  # until its row is committed
    made_before = file.exists()
    if not made_before and not (unconfirmed.exists() and unconfirmed.stat().st_size):
        unconfirmed.touch(mode=0o600)
        unconfirmed.write_text(new_secret())
    digest = digest_of((file if made_before else unconfirmed).read_text())
    with database.begin() as session:
        if session.scalar(select(KeyRow.id).where(KeyRow.digest == digest)) is None:
            if made_before and _is_new(session):
                raise DatabaseLost(
                    f"the database is empty, but {file} is the key of an earlier one: either restore that "
                    "from a backup (masktune restore), or delete the file to begin with an empty database"
                )
            keys.add(session, KeyRow(id=new_id("key"), name=NAME, digest=digest, scopes=[Scope.ADMIN.value]))
    if not made_before:
        unconfirmed.replace(file)
    return not made_before


def _is_new(session: Session) -> bool:
    return all(session.scalar(select(table.id).limit(1)) is None for table in (KeyRow, DatasetRow))
