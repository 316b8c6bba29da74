"""Two transactions that conflict on PostgreSQL: one continues while the other waits for its lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.session import Database
from tests.support.waits import wait_until

_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def while_it_waits(
    database: Database, first: Callable[[Session], object], second: Callable[[Session], object]
) -> Future[object]:
    """Run `first`, then `second` until it blocks, then commit `first`; return the future of `second`.

    Each is a transaction. A `second` that does not block ends before that commit.
    """

    def write() -> object:
        with database.begin() as session:
            return second(session)

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        with database.begin() as session:
            first(session)
            written = pool.submit(write)
            wait_until(lambda: written.done() or _is_waiting(database))
    return written


def _is_waiting(database: Database) -> bool:
    with database.read() as session:
        return bool(session.scalar(_WAITING))
