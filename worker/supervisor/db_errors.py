"""Which database errors are transient: a restarting server, a lost network connection, a lock in use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Transient(Exception):
    """A transient failure of the database; the same operation may succeed when it is retried."""


@contextmanager
def transient_errors() -> Iterator[None]:
    """Turn transient database errors inside the block into `Transient`; other errors propagate unchanged."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if not _is_transient(error):
            raise
        raise Transient(str(error)) from error


def _is_transient(error: DBAPIError | PoolTimeout) -> bool:
    """Whether the error is transient.

    A connection closed by `idle_in_transaction_session_timeout` is only an `InternalError` to the driver.
    """
    if isinstance(error, (OperationalError, InterfaceError, PoolTimeout)):
        return True
    return error.connection_invalidated
