"""The checks behind /readyz: each part is asked to do its work once, with a limit of time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.deps import Services
from app.schemas.health import Part, PartName
from core.errors import Unavailable
from core.schema import is_current

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
FORWARD_PATIENCE_SECONDS = 60.0
"""The first forward pass imports torch."""


async def check(services: Services) -> list[Part]:
    """Ask every part, all at once."""
    waits = await asyncio.gather(
        _part("database", lambda: _database(services), PATIENCE_SECONDS),
        _part("broker", services.doorbell.ping, PATIENCE_SECONDS),
        _part("storage", services.artifacts.check, PATIENCE_SECONDS),
        _part("forward_pass", services.forward, FORWARD_PATIENCE_SECONDS),
    )
    return list(waits)


def _database(services: Services) -> None:
    services.database.ping()
    if not is_current(services.database):
        raise Unavailable("its schema is of another version")


async def _part(name: PartName, ask: Callable[[], None], patience: float) -> Part:
    try:
        await asyncio.wait_for(asyncio.to_thread(ask), patience)
    except TimeoutError:
        return _failed(name, f"does not answer within {patience:.0f} s")
    except Exception as error:  # whatever it is, the part does not work, and that is the answer
        logger.exception("the %s is not ready", name)
        # The text of a library's error may name hosts and paths: only its kind is told.
        told = error.detail if isinstance(error, Unavailable) else f"fails ({type(error).__name__})"
        return _failed(name, told)
    return Part(name=name, ok=True, detail="ok")


def _failed(name: PartName, detail: str) -> Part:
    return Part(name=name, ok=False, detail=detail)
