"""The schema brought up to date: run once and safely, however many processes start together."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from core.session import Database

logger = logging.getLogger(__name__)

_LOCK = 0x6D61736B  # any number that no other program takes on this database: "mask"


def upgrade(url: str, revision: str = "head") -> None:
    """Apply the migrations that are missing. Concurrent callers wait for the first.

    A database of a newer version is left alone: while one replica after another is replaced, and after
    going back by one version, the old code works on the new tables. So migrations add, and what they
    take away no version before them may read.
    """
    with _migrating(url) as connection:
        if _is_newer(_applied(connection)):
            logger.warning("the database is of a newer version; it is used as it is")
            return
        command.upgrade(config(connection), revision)


def downgrade(url: str, revision: str) -> None:
    """Take back the migrations after `revision`, for an older version of the service."""
    with _migrating(url) as connection:
        command.downgrade(config(connection), revision)


def is_current(database: Database) -> bool:
    """Whether every migration of this version has been applied, by this version or a newer one."""
    with database.engine.connect() as connection:
        applied = _applied(connection)
    return applied == _scripts().get_current_head() or _is_newer(applied)


def knows(revision: str) -> bool:
    """Whether this version has the migration."""
    return revision in {one.revision for one in _scripts().walk_revisions()}


@contextmanager
def _migrating(url: str) -> Iterator[Connection]:
    """One transaction that holds a lock: SQLite's own (BEGIN IMMEDIATE), or an advisory one."""
    with closing(Database(url)) as database, database.engine.connect() as connection:
        if database.engine.dialect.name == "sqlite":
            # SQLite alters a table by dropping it for a copy: that must not cascade to the rows of others.
            # Inside a transaction the pragma does nothing; the connection ends with this block.
            _driver(connection).execute("PRAGMA foreign_keys=OFF")
        with connection.begin():
            if database.engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield connection


def _applied(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _is_newer(revision: str | None) -> bool:
    return revision is not None and not knows(revision)


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration; its commands work on the connection, if there is one."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.attributes["connection"] = connection
    return made
