"""What runs in the background for as long as the application does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

from sqlalchemy.exc import SQLAlchemyError

from core.session import Database
from core.settings import Settings
from core.storage.maintenance import Maintenance
from core.sweep import sweep

logger = logging.getLogger(__name__)

WARM_AFTER_SECONDS = 10.0
"""Leaves the start of the service to other work, which on a laptop runs on the same cores."""


@asynccontextmanager
async def in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `work` while the block runs; at the end of the block, cancel and await it."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def repeated(work: Callable[[], None], seconds: float) -> AsyncIterator[None]:
    """Call `work` in a thread every so many seconds while the block runs, and once at its end."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(work)

    try:
        async with in_background(repeat()):
            yield
    finally:
        await asyncio.to_thread(work)


async def sweep_periodically(database: Database, settings: Settings) -> None:
    """Sweep every `sweep_seconds`, and run the maintenance beside it.

    In the front too, so that lost jobs are found as long as any process of the service runs. Not as it
    starts: only a worker can take them up, and each sweeps at its own start.
    """
    maintenance = Maintenance(database, settings)
    while True:
        await asyncio.sleep(settings.sweep_seconds)
        try:
            await asyncio.to_thread(sweep, database, settings)
            maintenance.start()
        except (SQLAlchemyError, OSError) as error:  # e.g. the database restarts: the next sweep catches up
            logger.warning("the sweep failed and will be tried again: %s", error)
        except Exception:  # any error: a front that stopped sweeping would silently lose jobs
            logger.exception("the sweep failed; it tries again")


async def warm_up(forward: Callable[[], None]) -> None:
    """Run a first forward pass, `WARM_AFTER_SECONDS` from now, before any request needs one.

    It imports torch, which holds the interpreter lock while its libraries are opened. Requests that arrive in
    the meantime wait too: half a second, or several seconds if the libraries are not yet in the page cache.
    """
    await asyncio.sleep(WARM_AFTER_SECONDS)
    try:
        await asyncio.to_thread(forward)
    except Exception:
        logger.exception("a first forward pass failed; /readyz tells whether it still does")
