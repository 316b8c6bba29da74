"""Migrations of the database: applied once and safely, however many processes start at the same time."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import OperationalError

from core.session import Database
from core.tables import Table

logger = logging.getLogger(__name__)

_LOCK = 0x6D61736B  # key of the advisory lock, unique on this database: "mask"
_LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE


class EarlierCheckout(Exception):
    """These tables are of a checkout before the first release: they cannot be read, and the text says so."""


@dataclass(frozen=True)
class Patience:
    """How long a migration waits for a table that another transaction, such as a backup, holds on PostgreSQL.

    A waiting ALTER TABLE blocks all later users of the table, even readers. So the migration gives up soon,
    lets them pass, and tries again.
    """

    lock_seconds: float = 3.0
    pause_seconds: float = 5.0
    tries: int = 60


def upgrade(url: str) -> None:
    """Apply the missing migrations.
    Concurrent callers wait for the first.

    A database of a newer version is left alone, so that old code works on new tables during a rolling update
    and after a rollback by one version. Migrations must therefore only add, or remove what the previous
    version no longer reads. Raises `EarlierCheckout`, and changes nothing, if the tables are of one.
    """

    def change(connection: Connection) -> None:
        before = _applied(connection)
        if before is not None:
            refuse_earlier("the database", before)
        if _is_newer(before):
            logger.warning("the database is of a newer version; it is used as it is")
        elif before != (head := _scripts().get_current_head()):
            command.upgrade(_config(connection), "head")
            logger.info("the database was migrated from revision %s to %s", before or "none", head)

    _migrate(url, change)


def recreate(url: str, revision: str, *, patience: Patience = Patience()) -> None:
    """Drop the tables of the service, and make those of `revision`."""
    ours = {*Table.metadata.tables, "alembic_version"}

    def change(connection: Connection) -> None:
        existing = MetaData()
        existing.reflect(connection, only=lambda name, _: name in ours)
        existing.drop_all(connection)
        command.upgrade(_config(connection), revision)

    _migrate(url, change, patience)


def is_current(database: Database) -> bool:
    """Whether every migration of this version has been applied, by this version or a newer one."""
    with database.engine.connect() as connection:
        applied = _applied(connection)
    return applied == _scripts().get_current_head() or _is_newer(applied)


def knows(revision: str) -> bool:
    """Whether this version of the service has the migration `revision`."""
    return revision in {one.revision for one in _scripts().walk_revisions()}


def refuse_earlier(what: str, revision: str) -> None:
    """Raise `EarlierCheckout` if `what`, whose tables have this revision, is of a checkout before the first
    release."""
    if _is_earlier(revision):
        raise EarlierCheckout(
            f"an earlier checkout made {what} (revision {revision}), and this version cannot read it; "
            "start with an empty database and an empty data folder"
        )


def _migrate(url: str, change: Callable[[Connection], None], patience: Patience = Patience()) -> None:
    """Run `change` in one transaction; retry it if a table could not be locked in time."""
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
    """One transaction that excludes other migrations: by BEGIN IMMEDIATE in SQLite, else an advisory lock."""
    with closing(Database(url)) as database, database.engine.connect() as connection:
        if database.engine.dialect.name == "sqlite":
            # SQLite alters a table by replacing it with a copy; the drop must not cascade to other tables.
            # The pragma has no effect inside a transaction; the connection ends with this block.
            _driver(connection).execute("PRAGMA foreign_keys=OFF")
        with connection.begin():
            if database.engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                # Only set now: concurrent callers wait for the advisory lock as long as it takes.
                wait = {"wait": f"{round(1000 * lock_seconds)}ms"}
                connection.execute(text("SELECT set_config('lock_timeout', :wait, true)"), wait)
            yield connection


def _applied(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _is_newer(revision: str | None) -> bool:
    return revision is not None and not knows(revision) and not _is_earlier(revision)


def _is_earlier(revision: str) -> bool:
    """Whether the revision is of a checkout before the first release: it sorts before the first one."""
    first = _scripts().get_base()
    assert first is not None
    return revision < first


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _config(connection: Connection | None = None) -> Config:
    """Alembic's configuration; its commands use the connection, if one is given."""
    alembic = Config()
    alembic.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    alembic.attributes["connection"] = connection
    return alembic
