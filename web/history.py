"""A job's past, read only as far as it is drawn: the newest events whole, of those before them a few epochs.

A long job has tens of thousands of events, and a chart four hundred points. The API gives pages of events
behind any number, and numbers have no gaps: so what lies between two events is looked for by halving, and
left alone where stage and epoch are the same at both ends, for then nothing that is drawn ended between.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import TypeAlias

from client import AsyncClient, Event
from client.calls import call, get
from client.shapes import Page

Fetch: TypeAlias = Callable[[int, int], Awaitable[list[Event]]]
"""(number, limit) → the events behind that number, in order, `PAGE` of them at most."""

PAGE = 100
WHOLE = 1000
"""A job with fewer events is read from its first."""
TAIL = 500
"""Of a longer one, those that are read whole."""
LOOKS = 300
"""Pages that are read of what was before; an hour of training may have 12,000 events."""
EPOCHS = 4
"""Of a page; more would not be told apart in a chart."""


def fetching(connection: AsyncClient, job: str) -> Fetch:
    """Pages of this job's events."""

    async def fetch(after: int, limit: int) -> list[Event]:
        asked = get(f"/jobs/{job}/events", after=after, limit=limit)
        return (await connection.jobs.driver.run(call(asked, Page[Event]))).data

    return fetch


def beginning(newest: int) -> int:
    """The number behind which a job is read whole: 0 for a short one."""
    return newest - TAIL if newest > WHOLE else 0


async def past(fetch: Fetch, upto: int) -> AsyncIterator[list[Event]]:
    """Of the events up to that number, those that are drawn, in no order: stages first, then epochs."""
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
        # A request costs more than its rows: also the middle of a wide gap is looked at by the page.
        start = low.id if between <= PAGE else (low.id + high.id - PAGE) // 2
        page = [event for event in await fetch(start, PAGE) if event.id < high.id]
        yield list(_drawn(page))
        if between > PAGE and page:
            open_between(low, page[0])
            open_between(page[-1], high)


async def _thinned(fetch: Fetch, first: list[Event], upto: int) -> AsyncIterator[list[Event]]:
    """Of a job that ended days ago only what is drawn is left: numbers have gaps, and all of it is read."""
    page = first
    for _ in range(LOOKS):
        yield [event for event in page if event.id <= upto]
        if len(page) < PAGE or page[-1].id >= upto:
            return
        page = await fetch(page[-1].id, PAGE)


_Gap: TypeAlias = tuple[float, int, int, Event, Event]
"""(−epochs that ended in it, its width, its turn, its two ends): the most of a curve first, then the
narrowest, so that one epoch is found before the next is looked for."""


def _span(low: Event, high: Event) -> float:
    """How many epochs may have ended between; ∞ where a stage did, or where that cannot be told."""
    if low.type != "progress" or high.type != "progress" or low.data.get("stage") != high.data.get("stage"):
        return float("inf")
    # After an interruption epochs are trained again: then the later number is the lower one.
    return float(abs(int(high.data.get("epoch") or 0) - int(low.data.get("epoch") or 0)))


def _drawn(page: list[Event]) -> Iterator[Event]:
    """Without what moves the bar alone, and with a few of many epochs."""
    yield from (event for event in page if event.type != "progress")
    epochs = [event for event in page if event.type == "progress" and event.data.get("metrics")]
    yield from epochs[:: max(1, -(-len(epochs) // EPOCHS))]
