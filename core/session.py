"""The database: how it is opened, and the one place that commits.

SQLite runs in WAL mode with `synchronous=FULL` (0.13 ms a commit) and takes its write lock at
BEGIN: a deferred transaction that reads and then writes fails with "database is locked" as soon
as two of them meet.
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
    # Said aloud: of a database in SQL_ASCII the driver would hand out bytes.
    "client_encoding": "utf8",
    "connect_timeout": 5,
    # A peer that vanished is noticed within a minute, not after two hours.
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    # What was sent to it hides that from the above, and is sent again for 15 minutes: milliseconds.
    "tcp_user_timeout": 25_000,
    # A process that was stopped inside a transaction must not keep its locks: SKIP LOCKED would hide its job.
    "options": "-c idle_in_transaction_session_timeout=30s",
}

_READ_ONLY = "25006"
"""SQLSTATE of a write to a server that takes none."""


class db_now(GenericFunction[float]):
    """Seconds since 1970 by the database's clock, at the moment of the statement.

    Leases are judged by this clock alone: the clocks of workers need not agree.
    """

    type = Double()
    inherit_cache = True


def ago(seconds: float) -> ScalarSelect[float]:
    """So long before `db_now`, asked for once: no index can be searched for a clock that runs on, and a
    million ended jobs were read at each sweep (1.2 s in place of 1 ms).
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
        """Grows with every commit of this process, before whoever asked for it hears of it."""

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that only reads. It never waits for a writer, and is never committed."""
        with Session(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises.

        What was put off with `after_commit` runs once the commit has held; if it fails, that is logged: what
        was asked for has been done.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            yield session
            session.commit()
            self.commits = next(self._count)
            callbacks: list[Callable[[], None]] = session.info.pop("after_commit", [])
        for callback in callbacks:
            try:
                callback()
            except Exception:  # whatever it was, nobody may be told that the transaction has failed
                logger.exception("what was to follow a commit failed")

    def ping(self) -> None:
        """Raise when the database does not answer."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()


def after_commit(session: Session, callback: Callable[[], None]) -> None:
    """Run `callback` when, and only when, this session's transaction has been committed."""
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
        # A database in SQL_ASCII takes the bytes of "×", and refuses its escape \\u00d7 in a jsonb.
        json_serializer=partial(json.dumps, ensure_ascii=False),
    )

    @event.listens_for(engine, "handle_error")
    def _leave(context: ExceptionContext) -> None:
        # After a failover what was connected answers, but as a standby; its address may lead elsewhere.
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
        connection.isolation_level = None  # the driver must not begin on its own: we say IMMEDIATE
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA busy_timeout=30000")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine
