"""A job's history, read only as far as it is drawn: all of the newest events, and a few epochs of the rest.

A long job has tens of thousands of events, a chart four hundred points. The API pages through events after
any id, and ids have no gaps, so the interval between two events can be bisected. An interval with the same
stage and epoch at both ends is skipped: nothing that is drawn ended within it.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import TypeAlias

from masktune import AsyncClient, Event, ProgressEvent
from masktune.client.calls import call, get
from masktune.contract.base import Page

Fetch: TypeAlias = Callable[[int, int], Awaitable[list[Event]]]
"""(id, limit) → the events after that id, in order, at most `PAGE`."""

PAGE = 100
WHOLE = 1000
"""A job with at most this many events is read completely."""
TAIL = 500
"""For a longer job, the number of newest events that are read completely."""
LOOKS = 300
"""Most pages read of the older events; an hour of training may have 12,000 events."""
EPOCHS = 4
"""Epochs kept per page; more could not be told apart in a chart."""


def fetching(connection: AsyncClient, job: str) -> Fetch:
    """A `Fetch` for this job's events."""

    async def fetch(after: int, limit: int) -> list[Event]:
        asked = get(f"/jobs/{job}/events", after=after, limit=limit)
        return (await connection.jobs.driver.run(call(asked, Page[Event]))).data

    return fetch


def beginning(newest: int) -> int:
    """The event id after which all events are read; 0 for a short job."""
    return newest - TAIL if newest > WHOLE else 0


async def past(fetch: Fetch, upto: int) -> AsyncIterator[list[Event]]:
    """Yield the events up to id `upto` that are drawn, in no particular order: stages first, then epochs."""
    first = await fetch(0, PAGE)
    if first and first[-1].id > len(first):
        async for page in _thinned(fetch, first, upto):
            yield page
        return
    last = await fetch(upto - 1, 1)
    yield list(_drawn(first + last))
    gaps, order = list[_Gap](), count()

    def open_between(low: Event, high: Event) -> None:
        span = _span(low, high)
        if span and high.id - low.id > 1:
            heapq.heappush(gaps, (-span, high.id - low.id, next(order), low, high))

    open_between(first[-1], last[0])
    for _ in range(LOOKS):
        if not gaps:
            return
        *_, low, high = heapq.heappop(gaps)
        between = high.id - low.id - 1
        # A request costs more than its rows, so a whole page is read at the middle of a wide gap too.
        start = low.id if between <= PAGE else (low.id + high.id - PAGE) // 2
        page = [event for event in await fetch(start, PAGE) if event.id < high.id]
        yield list(_drawn(page))
        if between > PAGE and page:
            open_between(low, page[0])
            open_between(page[-1], high)


async def _thinned(fetch: Fetch, first: list[Event], upto: int) -> AsyncIterator[list[Event]]:
    """Read all events of a job that ended days ago: only those that are drawn remain, so ids have gaps."""
    page = first
    for _ in range(LOOKS):
        yield [event for event in page if event.id <= upto]
        if len(page) < PAGE or page[-1].id >= upto:
            return
        page = await fetch(page[-1].id, PAGE)


_Gap: TypeAlias = tuple[float, int, int, Event, Event]
"""A heap entry: (−epochs that ended in it, width, insertion order, low end, high end). The gap with the most
epochs comes first, then the narrowest, so that one epoch is found before the next is searched for."""


def _span(low: Event, high: Event) -> float:
    """Most epochs that may have ended between the two events; ∞ if a stage ended or may have ended."""
    if not (isinstance(low, ProgressEvent) and isinstance(high, ProgressEvent)):
        return float("inf")
    if low.data.stage != high.data.stage:
        return float("inf")
    # After an interruption, epochs are repeated, so the later event may have the lower epoch.
    return float(abs((high.data.epoch or 0) - (low.data.epoch or 0)))


def _drawn(page: list[Event]) -> Iterator[Event]:
    """Drop the events that only move the progress bar, and keep a few of many epochs."""
    yield from (event for event in page if event.type != "progress")
    epochs = [event for event in page if isinstance(event, ProgressEvent) and event.data.metrics.measured]
    yield from epochs[:: max(1, -(-len(epochs) // EPOCHS))]
