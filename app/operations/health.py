"""The checks behind /readyz: each part must do its work once, within a time limit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Annotated, NamedTuple

from app.http.deps import opened
from core.errors import Unavailable
from core.schema import is_current
from core.session import Database
from masktune.contract.operations import Part, PartName

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
FORWARD_PATIENCE_SECONDS = 60.0
"""The first forward pass imports torch."""
FORWARD_SECONDS = 30.0
"""How long a forward pass that succeeded is relied on: it costs as much as a prediction."""


class Check(NamedTuple):
    """`run` raises unless the part works; it fails if it takes longer than `patience` seconds."""

    part: PartName
    run: Callable[[], None]
    patience: float = PATIENCE_SECONDS


class _Running(NamedTuple):
    """A check that was started; `outcome` is the exception that it raised, if any."""

    outcome: Future[Exception | None]
    begun: float


class Probes:
    """Runs at most one check of each part at a time; while one hangs, callers get a `TimeoutError`.

    A timeout does not free the thread, so each check runs in a daemon thread of its own, which does not keep
    the process from exiting.
    """

    def __init__(self, checks: Sequence[Check] = ()) -> None:
        self._checks = checks
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

    async def parts(self) -> list[Part]:
        """Check all parts concurrently."""
        return list(await asyncio.gather(*(self._part(*check) for check in self._checks)))

    async def _part(self, name: PartName, run: Callable[[], None], patience: float) -> Part:
        error = await self.ask(name, run, patience)
        if isinstance(error, TimeoutError):
            return Part(name=name, ok=False, detail=f"did not answer within {patience:.0f} s")
        if error is not None:  # any error means that the part does not work
            logger.error("the %s is not ready", name, exc_info=error)
            # The message of a library's error may contain hosts and paths: report only its type.
            detail = error.detail if isinstance(error, Unavailable) else f"fails ({type(error).__name__})"
            return Part(name=name, ok=False, detail=detail)
        return Part(name=name, ok=True, detail="ok")


def _run(check: Callable[[], None], outcome: Future[Exception | None]) -> None:
    try:
        check()
    except Exception as error:  # noqa: BLE001  # any error is passed on to the caller
        outcome.set_result(error)
    else:
        outcome.set_result(None)


class ForwardCheck:
    """Runs a forward pass unless one succeeded within `FORWARD_SECONDS`; failures are not cached."""

    def __init__(self, run: Callable[[], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._passed_at = float("-inf")

    def __call__(self) -> None:
        if self._clock() - self._passed_at > FORWARD_SECONDS:
            self._run()
            self._passed_at = self._clock()


def check_database(database: Database) -> None:
    """Raise unless it answers and has this version's schema."""
    database.ping()
    if not is_current(database):
        raise Unavailable("its schema has a different version")


ProbesDep = Annotated[Probes, opened("probes")]
