"""The schema brought up to date: run once and safely, however many processes start together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from core.session import Database

_LOCK = 0x6D61736B  # any number that no other program takes on this database: "mask"


def upgrade(url: str, revision: str = "head") -> None:
    """Apply the migrations that are missing. Concurrent callers wait for the first."""
    database = Database(url)
    try:
        with _migrating(database.engine) as connection:
            command.upgrade(_config(connection), revision)
    finally:
        database.close()


def is_current(database: Database) -> bool:
    """Whether every migration of this version has been applied."""
    with database.engine.connect() as connection:
        applied = MigrationContext.configure(connection).get_current_revision()
    return applied == ScriptDirectory.from_config(_config(None)).get_current_head()


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """One transaction that holds a lock: SQLite's own (BEGIN IMMEDIATE), or an advisory one."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        yield connection


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
