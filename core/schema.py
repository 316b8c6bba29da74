"""The schema brought up to date: run once and safely, however many processes start together."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from core.session import Database

logger = logging.getLogger(__name__)

_LOCK = 0x6D61736B  # any number that no other program takes on this database: "mask"
_LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE


@dataclass(frozen=True)
class Patience:
    """With who holds a table that is to be changed, as a backup does, on PostgreSQL.

    Whoever waits for a table of its own holds up all that come after it, readers too: so it gives up soon,
    lets them go on, and tries again.
    """

    lock_seconds: float = 3.0
    pause_seconds: float = 5.0
    tries: int = 60


def upgrade(url: str, revision: str = "head", *, patience: Patience = Patience()) -> None:
    """Apply the migrations that are missing. Concurrent callers wait for the first.

    A database of a newer version is left alone: while one replica after another is replaced, and after
    going back by one version, the old code works on the new tables. So migrations add, and what they
    take away no version before them may read.
    """

    def change(connection: Connection) -> None:
        if _is_newer(_applied(connection)):
            logger.warning("the database is of a newer version; it is used as it is")
        else:
            command.upgrade(config(connection), revision)

    _migrate(url, change, patience)


def downgrade(url: str, revision: str) -> None:
    """Take back the migrations after `revision`, for an older version of the service."""
    _migrate(url, lambda connection: command.downgrade(config(connection), revision), Patience())


def is_current(database: Database) -> bool:
    """Whether every migration of this version has been applied, by this version or a newer one."""
    with database.engine.connect() as connection:
        applied = _applied(connection)
    return applied == _scripts().get_current_head() or _is_newer(applied)


def knows(revision: str) -> bool:
    """Whether this version has the migration."""
    return revision in {one.revision for one in _scripts().walk_revisions()}


def _migrate(url: str, change: Callable[[Connection], None], patience: Patience) -> None:
    """All of it in one transaction, which is begun anew when a table could not be had in time."""
    for left in reversed(range(patience.tries)):
        try:
            with _migrating(url, patience.lock_seconds) as connection:
                change(connection)
        except OperationalError as error:
            if not left or getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            logger.warning(
                "the database cannot be brought up to date while another transaction, as of a backup, holds "
                "a table; it is tried again in %g s, %d times at most",
                patience.pause_seconds,
                left,
            )
            time.sleep(patience.pause_seconds)
        else:
            return


@contextmanager
def _migrating(url: str, lock_seconds: float) -> Iterator[Connection]:
    """One transaction that holds a lock: SQLite's own (BEGIN IMMEDIATE), or an advisory one."""
    with closing(Database(url)) as database, database.engine.connect() as connection:
        if database.engine.dialect.name == "sqlite":
            # SQLite alters a table by dropping it for a copy: that must not cascade to the rows of others.
            # Inside a transaction the pragma does nothing; the connection ends with this block.
            _driver(connection).execute("PRAGMA foreign_keys=OFF")
        with connection.begin():
            if database.engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                # From here on: concurrent callers wait for the first as long as it takes.
                wait = {"wait": f"{round(1000 * lock_seconds)}ms"}
                connection.execute(text("SELECT set_config('lock_timeout', :wait, true)"), wait)
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
