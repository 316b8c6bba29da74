"""The checks behind /readyz: each part must do its work once, within a time limit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from app.operations.health_schemas import Part, PartName
from core.errors import Unavailable
from core.schema import is_current

if TYPE_CHECKING:
    from app.deps import Services

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
FORWARD_PATIENCE_SECONDS = 60.0
"""The first forward pass imports torch."""


class _Running(NamedTuple):
    """A check that was started; `outcome` is the exception that it raised, if any."""

    outcome: Future[Exception | None]
    begun: float


class Probes:
    """Runs at most one check of each part at a time; while one hangs, callers get a `TimeoutError`.

    A timeout does not free the thread, so each check runs in a daemon thread of its own, which does not keep
    the process from exiting.
    """

    def __init__(self) -> None:
        self._running: dict[PartName, _Running] = {}

    async def ask(self, name: PartName, check: Callable[[], None], patience: float) -> Exception | None:
        """Return what the check raised, or a `TimeoutError` if it runs longer than `patience` seconds."""
        running = self._running.get(name)
        if running is None or running.outcome.done():
            running = self._running[name] = _Running(Future(), time.monotonic())
            Thread(target=_run, args=(check, running.outcome), name=f"check-{name}", daemon=True).start()
        left = running.begun + patience - time.monotonic()
        if left > 0:
            await asyncio.wait([asyncio.wrap_future(running.outcome)], timeout=left)
        return running.outcome.result() if running.outcome.done() else TimeoutError()


def _run(check: Callable[[], None], outcome: Future[Exception | None]) -> None:
    try:
        check()
    except Exception as error:  # noqa: BLE001  # any error is passed on to the caller
        outcome.set_result(error)
    else:
        outcome.set_result(None)


async def check(services: Services) -> list[Part]:
    """Check all parts concurrently."""
    waits = await asyncio.gather(
        _part(services, "database", lambda: _database(services)),
        _part(services, "broker", services.notifier.ping),
        _part(services, "storage", services.artifacts.check),
        _part(services, "forward_pass", services.forward, FORWARD_PATIENCE_SECONDS),
    )
    return list(waits)


def _database(services: Services) -> None:
    services.database.ping()
    if not is_current(services.database):
        raise Unavailable("its schema has a different version")


async def _part(
    services: Services, name: PartName, ask: Callable[[], None], patience: float = PATIENCE_SECONDS
) -> Part:
    error = await services.probes.ask(name, ask, patience)
    if isinstance(error, TimeoutError):
        return _failed(name, f"did not answer within {patience:.0f} s")
    if error is not None:  # any error means that the part does not work
        logger.error("the %s is not ready", name, exc_info=error)
        # The message of a library's error may contain hosts and paths: report only its type.
        told = error.detail if isinstance(error, Unavailable) else f"fails ({type(error).__name__})"
        return _failed(name, told)
    return Part(name=name, ok=True, detail="ok")


def _failed(name: PartName, detail: str) -> Part:
    return Part(name=name, ok=False, detail=detail)
