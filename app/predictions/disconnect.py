"""Cancels work when the client disconnects, which frees its place in a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

CLIENT_GONE = 499
"""nginx's status for a client disconnect. No client receives it; it is for the log and the metrics."""


WATCH_AFTER_SECONDS = 0.05
"""Most answers are ready by then; watching from the start would cost each of them a task."""


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Return the response of `work`, or cancel it if the client disconnects first.

    The body must have been read, so that the only message left to receive is the disconnect.
    """
    loop, here, gone = asyncio.get_running_loop(), asyncio.current_task(), False
    watching: asyncio.Task[None] | None = None
    assert here is not None

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        here.cancel()

    def begin() -> None:
        nonlocal watching
        watching = loop.create_task(watch())

    timer = loop.call_later(WATCH_AFTER_SECONDS, begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone:
            raise
        here.uncancel()
        return Response(status_code=CLIENT_GONE)
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()
