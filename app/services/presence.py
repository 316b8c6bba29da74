"""Work that is given up when the client leaves: its place in a queue is another's then."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

CLIENT_GONE = 499
"""nginx's status for it; nobody receives it, the log and the metrics do."""


async def while_present(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The answer that `work` makes. When the client goes first, the work is cancelled.

    The body must have been read: what is received from now on is the client's leaving only.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else Response(status_code=CLIENT_GONE)
    finally:
        unfinished = [each for each in (task, watch) if each.cancel()]
        await asyncio.gather(*unfinished, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
