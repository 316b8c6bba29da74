"""Opens the database, and is the only place that commits.

SQLite runs in WAL mode with `synchronous=FULL` (0.13 ms per commit) and takes its write lock at BEGIN. With
deferred transactions, two concurrent ones that read and then write fail with "database is locked".
"""

from __future__ import annotations

import itertools
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    ExceptionContext,
    ScalarSelect,
    create_engine,
    event,
    make_url,
    select,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import Double

logger = logging.getLogger(__name__)

_POSTGRESQL = {
    # Set explicitly: from a SQL_ASCII database the driver would return bytes.
    "client_encoding": "utf8",
    "connect_timeout": 5,
    # Notice a vanished peer within a minute instead of two hours.
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    # Unacknowledged data suspends keepalives and is retransmitted for 15 minutes. In milliseconds.
    "tcp_user_timeout": 25_000,
    # A process suspended in a transaction must not keep its locks: SKIP LOCKED would hide its job.
    "options": "-c idle_in_transaction_session_timeout=30s",
}

_READ_ONLY = "25006"
"""SQLSTATE of a write to a read-only server."""


class db_now(GenericFunction[float]):
    """Seconds since 1970 by the database's clock, at the time of the statement.

    Leases are judged by this clock only, so the workers' clocks need not agree.
    """

    type = Double()
    inherit_cache = True


def ago(seconds: float) -> ScalarSelect[float]:
    """The time `seconds` before `db_now`, as a subquery that is evaluated once per statement.

    An index cannot be searched by a volatile expression:
    each sweep read a million ended jobs (1.2 s instead
    of 1 ms).
    """
    return select(db_now() - seconds).scalar_subquery()


@compiles(db_now, "sqlite")
def _now_sqlite(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _now_postgresql(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class Database:
    """An engine and its transactions."""

    def __init__(self, url: str) -> None:
        self.engine = _open(url)
        self._reader = self.engine.execution_options(read_only=True)
        self._count = itertools.count(1)
        self.commits = 0
        """Increases with each commit of this process, before `begin` returns to its caller."""

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One read-only transaction. It never waits for a writer and is never committed."""
        with Session(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction, committed when the block ends and rolled back when it raises.

        Callbacks registered with `after_commit` run after the commit.
        If one fails, the error is only logged,
        since the transaction itself has succeeded.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            yield session
            session.commit()
            self.commits = next(self._count)
            callbacks: list[Callable[[], None]] = session.info.pop("after_commit", [])
        for callback in callbacks:
            try:
                callback()
            except Exception:  # raising it would look as if the transaction had failed
                logger.exception("what was to follow a commit failed")

    def ping(self) -> None:
        """Raise if the database does not answer."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def checkpoint(self) -> None:
        """Empty the log of SQLite, in which deleted rows still stand; nothing on other databases."""
        if self.engine.dialect.name == "sqlite":
            connection = self.engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    def close(self) -> None:
        self.engine.dispose()


def after_commit(session: Session, callback: Callable[[], None]) -> None:
    """Run `callback` once this session's transaction has been committed, and only then."""
    session.info.setdefault("after_commit", []).append(callback)


def _open(url: str) -> Engine:
    if make_url(url).get_backend_name() == "sqlite":
        return _open_sqlite(url)
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=30,
        pool_recycle=600,
        connect_args=_POSTGRESQL,
        # A SQL_ASCII database accepts the bytes of "×" in a json but cannot read its escape \\u00d7.
        json_serializer=partial(json.dumps, ensure_ascii=False),
    )

    @event.listens_for(engine, "handle_error")
    def _leave(context: ExceptionContext) -> None:
        # After a failover, the old server may answer as a standby: reconnect, as its address may have moved.
        if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True

    return engine


def _open_sqlite(url: str) -> Engine:
    database = make_url(url).database
    if database:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": 30}, pool_size=10, max_overflow=30)

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # stop the driver's implicit BEGIN: `_begin` uses IMMEDIATE
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")  # a deleted image is overwritten
        connection.execute("PRAGMA busy_timeout=30000")
        # SQLite's own knows ASCII alone, and a search finds "zürich" in "Zürich" on PostgreSQL.
        connection.create_function("lower", 1, lambda text: text and text.lower(), deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine
