"""Databases on PostgreSQL that tests have one after another: to create one takes longer than most tests."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.session import Database
from core.tables import Table
from tests.support.databases import empty_database, postgres_database, sqlite_database

_END_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@contextmanager
def database_without_rows() -> Iterator[str]:
    """The URL of a database with the tables of the service, all of them empty again at the end."""
    url = _with_tables()
    try:
        yield url
    finally:
        with _alone(url) as session:
            for table in reversed(Table.metadata.sorted_tables):
                session.execute(table.delete())


@contextmanager
def database_on(engine: str, folder: Path) -> Iterator[str]:
    """The URL of a migrated database without rows: `sqlite` in this folder, or `postgresql`."""
    if engine == "sqlite":
        yield sqlite_database(folder)
    else:
        with database_without_rows() as url:
            yield url


@contextmanager
def database_without_tables() -> Iterator[str]:
    """The URL of a database without a table, which has none again at the end."""
    url = _without_tables()
    try:
        yield url
    finally:
        with _alone(url) as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))


@contextmanager
def _alone(url: str) -> Iterator[Session]:
    """A transaction without others, which a test that failed may have left."""
    with _opened(url).begin() as session:
        session.execute(_END_OTHERS)
        yield session


@cache
def _opened(url: str) -> Database:
    database = Database(url)
    atexit.register(database.close)
    return database


@cache
def _with_tables() -> str:
    with ExitStack() as stack:
        url = stack.enter_context(empty_database("postgresql", Path()))
        atexit.register(stack.pop_all().close)
    return url


@cache
def _without_tables() -> str:
    with ExitStack() as stack:
        url = stack.enter_context(postgres_database())
        atexit.register(stack.pop_all().close)
    return url
