"""The gauges of a process, set when `/metrics` is scraped and every few seconds in between.

If several processes share an address, only one answers a scrape; the others report the values they last set.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.operations.background import in_background
from app.operations.metrics import forget_the_dead

if TYPE_CHECKING:
    from app.deps import Services

SECONDS = 5.0


def refresh(services: Services) -> None:
    """Set the gauges of this process."""
    services.metrics.set_in_flight()
    services.metrics.followers.set(len(services.followers))
    services.metrics.set_loaded(services.inference.loaded)
    services.metrics.waiting.set(services.inference.waiting)


@asynccontextmanager
async def kept(services: Services) -> AsyncIterator[None]:
    """Refresh the gauges while the block runs, and drop them at its end."""
    forget_the_dead()
    try:
        async with in_background(_keep_refreshing(services)):
            yield
    finally:
        services.metrics.close()


async def _keep_refreshing(services: Services) -> None:
    while True:
        refresh(services)
        await asyncio.sleep(SECONDS)
