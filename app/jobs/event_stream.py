"""Events in the two forms that a client may request: a stream or pages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from app.http.lists import decode_number, encode_number
from app.jobs.event_feed import EventFeed
from app.jobs.presenter import describe_event
from core.errors import MasktuneError
from core.queries import events
from core.session import Database
from core.tables import JobRow
from masktune.contract.jobs import Event, EventPage

HEARTBEAT_SECONDS = 15.0
RETRY = b"retry: 2000\n\n"
"""Milliseconds that an EventSource waits before it reconnects. Sent first, it also shows proxies that the
stream has begun."""
HEARTBEAT = b": still here\n\n"


def accepts_stream(accept: str) -> bool:
    """Whether the client asks for a stream; the default is JSON."""
    kinds = [kind.partition(";")[0].strip().lower() for kind in accept.split(",")]
    return "text/event-stream" in kinds


def page(
    database: Database, row: JobRow, after: int, *, cursor: str | None, limit: int, thin: bool
) -> EventPage:
    """Return a page of the events after a number or, if given, after a cursor."""
    behind = decode_number(cursor)
    begin = min(after if behind is None else behind, 2**31 - 1)
    with database.read() as session:
        rows = events.page(session, row.id, after=begin, limit=limit + 1, thin=thin)
    more = len(rows) > limit
    return EventPage(
        data=[describe_event(event) for event in rows[:limit]],
        next_cursor=encode_number(rows[limit - 1].seq) if more else None,
    )


async def frames(
    event_feed: EventFeed,
    job_id: str,
    *,
    after: int,
    instance: str,
    authorize: Callable[[], Awaitable[object]],
    heartbeat: float = HEARTBEAT_SECONDS,
) -> AsyncIterator[bytes]:
    """Stream a job's events as server-sent events (WHATWG HTML, section 9.2).

    `authorize` raises once the caller's key is revoked, which ends the stream at the next event or heartbeat.
    """
    yield RETRY
    try:
        async with aclosing(event_feed.follow(job_id, after=after, heartbeat=heartbeat)) as rows:
            async for row in rows:
                await authorize()
                yield HEARTBEAT if row is None else frame(describe_event(row))
    except MasktuneError as error:  # the status has already been sent, so the problem is sent as an event
        body = json.dumps(error.to_problem(instance))
        yield f"event: error\ndata: {body}\n\n".encode()


def frame(event: Event) -> bytes:
    """Encode one event. This JSON has no line breaks, so one `data` line is enough."""
    return f"id: {event.id}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n".encode()
