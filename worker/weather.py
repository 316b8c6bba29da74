"""Which database errors pass by themselves: the server restarts, the network is gone, the lock is taken."""

from __future__ import annotations

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

AWAY: tuple[type[Exception], ...] = (OperationalError, InterfaceError, PoolTimeout)
