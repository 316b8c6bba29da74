"""Runs the sweep in the front too, so that lost jobs are found as long as any process of the service runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from app.operations.background import in_background
from core.maintenance import Maintenance
from core.sweep import sweep

if TYPE_CHECKING:
    from app.deps import Services

logger = logging.getLogger(__name__)


@asynccontextmanager
async def swept(services: Services) -> AsyncIterator[None]:
    """Sweep every `sweep_seconds` while the block runs, and run the maintenance beside it."""
    async with in_background(_keep_sweeping(services)):
        yield


async def _keep_sweeping(services: Services) -> None:
    maintenance = Maintenance(services.database, services.settings)
    while True:
        try:
            await asyncio.to_thread(sweep, services.database, services.settings)
            maintenance.start()
        except (SQLAlchemyError, OSError) as error:  # e.g. the database restarts: the next sweep catches up
            logger.warning("the sweep failed and will be tried again: %s", error)
        except Exception:  # any error: a front that stopped sweeping would silently lose jobs
            logger.exception("the sweep failed; it tries again")
        await asyncio.sleep(services.settings.sweep_seconds)
