"""The first admin key of a service whose operator has named none, so that nobody has to invent a secret."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
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
    with _alone(file.parent):
        return _ensure(database, file)


def _ensure(database: Database, file: Path) -> bool:
    unconfirmed = file.with_name(f"{file.name}.new")  # until its row is committed
    made_before = file.exists()
    digest = digest_of(file.read_text() if made_before else _left(unconfirmed) or _written(unconfirmed))
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


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Exclude the other processes that start at the same time."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _left(unconfirmed: Path) -> str:
    """The secret that an interrupted start left behind; "" if there is none, or others may know it."""
    try:
        descriptor = os.open(unconfirmed, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # there is none, or it is a link
        return ""
    with os.fdopen(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        is_file = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        is_ours = status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
        return file.read() if is_file and is_ours else ""


def _written(unconfirmed: Path) -> str:
    """A new secret, written to a new file for this user alone, in the place of whatever is there."""
    unconfirmed.unlink(missing_ok=True)
    descriptor = os.open(unconfirmed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        secret = new_secret()
        file.write(secret)
    return secret


def _is_new(session: Session) -> bool:
    return all(session.scalar(select(table.id).limit(1)) is None for table in (KeyRow, DatasetRow))
