"""A first forward pass before anybody asks for one.

It imports torch, whose libraries are opened with the interpreter held: whoever comes meanwhile waits too,
half a second, or several where the disk has not read them yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.services.background import in_background

if TYPE_CHECKING:
    from app.deps import Services

logger = logging.getLogger(__name__)

WARM_AFTER_SECONDS = 10.0
"""What a service has to do when it starts comes first, on a laptop on the same cores."""


@asynccontextmanager
async def warmed(services: Services) -> AsyncIterator[None]:
    """Do it once, `WARM_AFTER_SECONDS` from now, if the block still runs."""
    async with in_background(_warm(services)):
        yield


async def _warm(services: Services) -> None:
    await asyncio.sleep(WARM_AFTER_SECONDS)
    try:
        await asyncio.to_thread(services.forward)
    except Exception:
        logger.exception("a first forward pass failed; /readyz tells whether it still does")
