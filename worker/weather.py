"""Which database errors pass by themselves: the server restarts, the network is gone, the lock is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Away(Exception):
    """The database did not do what it was asked for, and may do it when it is asked again."""


@contextmanager
def asking() -> Iterator[None]:
    """Raise `Away` in place of an error of the database that passes by itself; others go through."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if not _passes(error):
            raise
        raise Away(str(error)) from error


def _passes(error: DBAPIError | PoolTimeout) -> bool:
    """A connection that was ended for idling in a transaction is an `InternalError` to the driver."""
    if isinstance(error, (OperationalError, InterfaceError, PoolTimeout)):
        return True
    return error.connection_invalidated
