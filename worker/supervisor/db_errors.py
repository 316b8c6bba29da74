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
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Transient(str(error)) from error
    except DBAPIError as error:
        # One closed by `idle_in_transaction_session_timeout` is only an `InternalError` to the driver.
        if error.connection_invalidated:
            raise Transient(str(error)) from error
        raise
