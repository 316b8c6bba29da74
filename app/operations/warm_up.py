"""Runs a first forward pass before any request needs one.

It imports torch, which holds the interpreter lock while its libraries are opened. Requests that arrive in the
meantime wait too: half a second, or several seconds if the libraries are not yet in the page cache.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.operations.background import in_background

if TYPE_CHECKING:
    from app.deps import Services

logger = logging.getLogger(__name__)

WARM_AFTER_SECONDS = 10.0
"""Leaves the start of the service to other work, which on a laptop runs on the same cores."""


@asynccontextmanager
async def warmed(services: Services) -> AsyncIterator[None]:
    """Run the pass once, `WARM_AFTER_SECONDS` from now, if the block is still running."""
    async with in_background(_warm(services)):
        yield


async def _warm(services: Services) -> None:
    await asyncio.sleep(WARM_AFTER_SECONDS)
    try:
        await asyncio.to_thread(services.forward)
    except Exception:
        logger.exception("a first forward pass failed; /readyz tells whether it still does")
