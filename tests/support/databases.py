"""Real databases for tests: those on PostgreSQL are dropped at the end."""

from __future__ import annotations

import atexit
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import create_engine, text

from core import schema
from tests.support.machine import needs
from tests.support.servers import Postgres, answers

POSTGRES = "postgresql+psycopg://root@127.0.0.1:5432"


@cache
def _postgres() -> str:
    """The address, without a database name, of this machine's PostgreSQL server or of one started here."""
    if answers(5432):
        return POSTGRES
    started = Postgres(durable=False)
    atexit.register(started.end)
    return started.server


@contextmanager
def postgres_database(template: str = "template1") -> Iterator[str]:
    """Create a new database on this machine's PostgreSQL or on one started here; drop it at the end."""
    needs("postgresql")
    server = _postgres()
    name = f"masktune_test_{uuid.uuid4().hex[:12]}"
    admin = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield f"{server}/{name}"
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        admin.dispose()


@cache
def _migrated_postgres() -> str:
    """The name of a migrated database to copy: to migrate each takes longer than most tests."""
    stack = ExitStack()
    atexit.register(stack.close)
    url = stack.enter_context(postgres_database())
    schema.upgrade(url)
    return url.rpartition("/")[2]


@cache
def _migrated_sqlite() -> bytes:
    with TemporaryDirectory() as folder:
        schema.upgrade(f"sqlite:///{folder}/masktune.db")
        return Path(folder, "masktune.db").read_bytes()


def sqlite_database(folder: Path) -> str:
    """Put a migrated database where the service has its own in the data folder, and return its URL."""
    folder.mkdir(exist_ok=True)
    file = folder / "masktune.db"
    file.write_bytes(_migrated_sqlite())
    return f"sqlite:///{file}"


@contextmanager
def empty_database(engine: str, folder: Path) -> Iterator[str]:
    """The URL of an empty, migrated database: `sqlite` in this folder, or `postgresql`."""
    if engine == "sqlite":
        yield sqlite_database(folder)
    else:
        needs("postgresql")
        with postgres_database(_migrated_postgres()) as url:
            yield url
