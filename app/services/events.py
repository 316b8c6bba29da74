"""Events of jobs for many followers: one reader per process polls the table for all of them.

0.5 % of a core for 400 idle followers, where a poll per follower costs up to twenty times that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from core.errors import MasktuneError, NotFound, Overloaded, Unavailable
from core.queries import events, jobs
from core.session import Database
from core.tables import EventRow
from core.vocabulary import EventType, JobState

logger = logging.getLogger(__name__)

BATCH = 500
"""Most events read by one poll, for all followers together; where there are more it polls at once."""
PATIENCE = 10
"""Polls that may fail in a row (a database that restarts) before the streams end with a problem."""


@dataclass(eq=False)
class _Follower:
    job_id: str
    position: int
    """Number of the last event handed over."""
    waiting: deque[EventRow] = field(default_factory=deque)
    ended: bool = False
    """The job has ended, and every event up to its end has been handed over."""
    error: MasktuneError | None = None
    behind: bool = False
    """There is more in the table than was handed over."""
    fresh: bool = True
    """Not polled for yet: the job may have ended before."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def done(self) -> bool:
        return self.ended or self.error is not None


class _News(NamedTuple):
    """What one poll found: new events, the newest number of each job, the jobs that have ended."""

    rows: list[EventRow]
    read_to: dict[str, int]
    """Up to where the events of each job were looked for."""
    heads: dict[str, int]
    ended: set[str]


class Followers:
    """The open streams of this process, and the reader that feeds them while there are any."""

    def __init__(
        self, database: Database, *, poll_seconds: float, batch: int = BATCH, most: int = 500
    ) -> None:
        self._database, self._poll_seconds, self._batch, self._most = database, poll_seconds, batch, most
        self._followers: set[_Follower] = set()
        self._reader: asyncio.Task[None] | None = None
        self._hunger = asyncio.Event()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._followers)

    def check_room(self) -> None:
        """Raise `Overloaded` when the process keeps open as many streams as it may."""
        if len(self._followers) >= self._most:
            raise Overloaded(
                f"{self._most} event streams are open already; follow again shortly, or ask another replica",
                headers={"Retry-After": "5"},
            )

    async def follow(self, job_id: str, *, after: int, heartbeat: float) -> AsyncGenerator[EventRow | None]:
        """Every event behind number `after`, in order, up to the one that tells the job's end.

        None is a heartbeat: nothing came for `heartbeat` seconds. The stream ends early when the
        process stops, and raises `MasktuneError` when the events cannot be read or too many read them.
        """
        self.check_room()  # again: many may have been let in at once, before the first of them began
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
                if follower.behind:  # there was more than one batch: the reader need not sleep
                    self._hunger.set()
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
        """End every stream soon, and take no new one. For the loop's own thread."""
        self._stopped = True
        if self._reader is not None:
            self._reader.cancel()
        for follower in self._followers:
            follower.wake.set()

    def _start(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read())
        self._hunger.set()

    async def _read(self) -> None:
        failures = 0
        while self._followers:
            try:
                more = await self._poll()
                failures = 0
            except SQLAlchemyError as error:
                failures, more = failures + 1, False
                logger.warning("events could not be read (%d of %d): %s", failures, PATIENCE, error)
                if failures >= PATIENCE:
                    return self._give_up()
            if not more:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hunger.wait(), self._poll_seconds)
            self._hunger.clear()
        return None

    def _give_up(self) -> None:
        for follower in self._followers:
            follower.error = Unavailable("the events cannot be read; follow again from the last id you have")
            follower.wake.set()

    async def _poll(self) -> bool:
        """Hand over what is new; says whether there is more to read at once."""
        groups: defaultdict[str, list[_Follower]] = defaultdict(list)
        for follower in self._followers:
            # A client that reads slowly is left where it is: its events wait in the table, not here.
            if not follower.done and len(follower.waiting) < self._batch:
                groups[follower.job_id].append(follower)
        if not groups:
            return False
        after = {job_id: min(f.position for f in group) for job_id, group in groups.items()}
        fresh = {job_id for job_id, group in groups.items() if any(f.fresh for f in group)}
        news = await run_in_threadpool(self._fetch, after, fresh)
        for row in news.rows:
            for follower in groups[row.job_id]:
                if row.seq > follower.position:
                    follower.position = row.seq
                    follower.waiting.append(row)
        for job_id, last in news.read_to.items():  # what was not found up to there is gone for good
            for follower in groups[job_id]:
                follower.position = max(follower.position, last)
        behind = [_settle(follower, news) for group in groups.values() for follower in group]
        return any(behind)

    def _fetch(self, after: dict[str, int], fresh: set[str]) -> _News:
        """One poll. The state of the `fresh` jobs is read before the numbers, so that an end that
        comes in between is told by its event and not twice or without it."""
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
        return _News(rows, read_to, heads, {job_id for job_id, state in states.items() if state.ended})


def _settle(follower: _Follower, news: _News) -> bool:
    """Whether the follower is still behind; if not, it may learn that the job has ended.

    `ended` goes by the last state of a job that was read, so it counts only for who has everything.
    """
    head = news.heads.get(follower.job_id)
    follower.fresh, follower.behind = False, head is not None and follower.position < head
    if head is None:
        follower.error = NotFound("the job is gone")
    elif follower.position >= head:
        follower.ended = follower.job_id in news.ended
    if follower.waiting or follower.done:
        follower.wake.set()
    return follower.behind
