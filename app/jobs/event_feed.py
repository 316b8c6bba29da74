"""Job events for many followers: one reader per process polls the table for all of them.

400 idle followers cost 0.5 % of a core; one poll per follower would cost up to twenty times that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.http.deps import opened
from core.errors import MasktuneError, NotFound, Overloaded, Unavailable
from core.queries import events, jobs
from core.session import Database
from core.tables import EventRow
from masktune.contract.vocabulary import EventType, JobState

logger = logging.getLogger(__name__)

BATCH = 500
"""Limit of events read by one poll, for all followers together; if there are more, it polls again at once."""
MAX_FAILURES = 10
"""Polls that may fail in a row (the database restarts) before the streams end with a problem."""


@dataclass(eq=False)
class _Follower:
    job_id: str
    position: int
    """Number of the last event handed over."""
    waiting: deque[EventRow] = field(default_factory=deque)
    ended: bool = False
    """Whether the job has ended and every event up to its end has been handed over."""
    error: MasktuneError | None = None
    behind: bool = False
    """Whether the table has more events than were handed over."""
    fresh: bool = True
    """Whether no poll has included this follower yet; its job may have ended before."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def done(self) -> bool:
        return self.ended or self.error is not None


class _Poll(NamedTuple):
    """Result of one poll: new events, the newest number of each job, the jobs that have ended."""

    rows: list[EventRow]
    read_to: dict[str, int]
    """Number up to which each job's events were read."""
    heads: dict[str, int]
    ended: set[str]


class EventFeed:
    """The open streams of this process, and the reader that feeds them."""

    def __init__(
        self, database: Database, *, poll_seconds: float, batch: int = BATCH, most: int = 500
    ) -> None:
        self._database, self._poll_seconds, self._batch, self._most = database, poll_seconds, batch, most
        self._followers: set[_Follower] = set()
        self._reader: asyncio.Task[None] | None = None
        self._poll_now = asyncio.Event()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._followers)

    def check_capacity(self) -> None:
        """Raise `Overloaded` if the process already has the maximum number of streams open."""
        if len(self._followers) >= self._most:
            raise Overloaded(
                f"{self._most} event streams are already open; try again in a moment, or use another replica",
                headers={"Retry-After": "5"},
            )

    async def follow(self, job_id: str, *, after: int, heartbeat: float) -> AsyncGenerator[EventRow | None]:
        """Yield every event after number `after`, in order, up to the one that reports the job's end.

        None is a heartbeat: there was no event for `heartbeat` seconds. The stream ends early when the
        process stops, and raises `MasktuneError` if the events cannot be read or too many streams are open.
        """
        self.check_capacity()  # again: many may have passed the first check before any of them began
        follower = _Follower(job_id, after)
        self._followers.add(follower)
        self._start()
        try:
            while not self._stopped:
                while follower.waiting:
                    yield follower.waiting.popleft()
                if follower.error is not None:
                    raise follower.error
                if follower.ended:
                    return
                if follower.behind:  # there was more than one batch: do not let the reader sleep
                    self._poll_now.set()
                follower.wake.clear()
                if not follower.waiting and not follower.done and not self._stopped:
                    try:
                        await asyncio.wait_for(follower.wake.wait(), heartbeat)
                    except TimeoutError:
                        self._start()
                        yield None
        finally:
            self._followers.discard(follower)

    def stop(self) -> None:
        """End every stream soon and accept no new ones. Call it in the event loop's thread."""
        self._stopped = True
        if self._reader is not None:
            self._reader.cancel()
        for follower in self._followers:
            follower.wake.set()

    def _start(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read())
        self._poll_now.set()

    async def _read(self) -> None:
        failures = 0
        while self._followers:
            try:
                more = await self._poll()
                failures = 0
            except Exception as error:  # any error: if the reader ended, its streams would get no more events
                failures, more = failures + 1, False
                logger.warning(
                    "events could not be read (%d of %d): %s",
                    failures,
                    MAX_FAILURES,
                    error,
                    exc_info=not isinstance(error, SQLAlchemyError),
                )
                if failures >= MAX_FAILURES:
                    return self._give_up()
            if not more:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._poll_now.wait(), self._poll_seconds)
            self._poll_now.clear()
        return None

    def _give_up(self) -> None:
        for follower in self._followers:
            follower.error = Unavailable("the events cannot be read; reconnect from the last id you have")
            follower.wake.set()

    async def _poll(self) -> bool:
        """Hand over new events, and return whether there is more to read at once."""
        groups: defaultdict[str, list[_Follower]] = defaultdict(list)
        for follower in self._followers:
            # Skip slow clients: their events wait in the table, not in memory.
            if not follower.done and len(follower.waiting) < self._batch:
                groups[follower.job_id].append(follower)
        if not groups:
            return False
        after = {job_id: min(f.position for f in group) for job_id, group in groups.items()}
        fresh = {job_id for job_id, group in groups.items() if any(f.fresh for f in group)}
        poll = await run_in_threadpool(self._fetch, after, fresh)
        for row in poll.rows:
            for follower in groups[row.job_id]:
                if row.seq > follower.position:
                    follower.position = row.seq
                    follower.waiting.append(row)
        for job_id, last in poll.read_to.items():  # events missing up to here will never appear
            for follower in groups[job_id]:
                follower.position = max(follower.position, last)
        behind = [_settle(follower, poll) for group in groups.values() for follower in group]
        return any(behind)

    def _fetch(self, after: dict[str, int], fresh: set[str]) -> _Poll:
        """Poll once.
        The state of the `fresh` jobs is read before the numbers, so that a job that ends in between is
        reported by its event, exactly once."""
        states: dict[str, JobState] = {}
        with self._database.read() as session:
            for job_id in fresh:
                with suppress(NotFound):
                    states[job_id] = jobs.get(session, job_id).state
            heads = events.heads(session, list(after))
            ranges, left = {}, self._batch
            for job_id, head in heads.items():
                last = min(head, after[job_id] + left)
                if last > after[job_id]:
                    ranges[job_id] = (after[job_id], last)
                    left -= last - after[job_id]
            rows = events.between(session, ranges) if ranges else []
        states |= {row.job_id: JobState(row.data["state"]) for row in rows if row.type == EventType.STATE}
        read_to = {job_id: last for job_id, (_, last) in ranges.items()}
        return _Poll(rows, read_to, heads, {job_id for job_id, state in states.items() if state.ended})


def _settle(follower: _Follower, poll: _Poll) -> bool:
    """Update a follower after a poll, and return whether it is still behind.

    `poll.ended` reflects the last state read of each job, so it only applies to up-to-date followers.
    """
    head = poll.heads.get(follower.job_id)
    follower.fresh, follower.behind = False, head is not None and follower.position < head
    if head is None:
        follower.error = NotFound("the job no longer exists")
    elif follower.position >= head:
        follower.ended = follower.job_id in poll.ended
    if follower.waiting or follower.done:
        follower.wake.set()
    return follower.behind


EventFeedDep = Annotated[EventFeed, opened("event_feed")]
