"""Gives every request an id, an access log line and its metrics."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.headers import header, new_request_id
from app.operations.metrics import Metrics
from app.server.middleware.refusing import refuse
from core import logs
from core.errors import Unavailable

logger = logging.getLogger("masktune.access")

_HARMLESS_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_STREAM = b"text/event-stream"
_HARDENING = ((b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY"))
"""A browser neither guesses the type of an answer nor shows one, such as `/docs`, inside another page."""
_ENDED = (
    "the service shut down before this was done; send the request again, with the same Idempotency-Key if any"
)
_RETRY_AFTER, _CLOSE = (b"retry-after", b"5"), (b"connection", b"close")
_NONE: Mapping[str, str] = {}
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
"""Polled by machines every few seconds, so logged at debug level."""


class Observe:
    """Adds the `headers` of the request's state to the response, for dependencies that have no response yet.

    The client's `X-Request-ID` is kept if it is harmless, else one is generated; the response carries it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        client_id = header(scope, b"x-request-id").decode("latin-1")
        request_id = client_id if _HARMLESS_ID.fullmatch(client_id) else new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        status, streams, answered, begun = 500, False, False, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status, streams, answered
            if message["type"] == "http.response.start":
                answered = True
                status, headers = message["status"], list(message.get("headers", ()))
                streams = any(n == b"content-type" and v.startswith(_STREAM) for n, v in headers)
                headers += ((b"x-request-id", request_id.encode()), *_HARDENING)
                for name, text in scope["state"].get("headers", _NONE).items():
                    headers.append((name.lower().encode(), text.encode()))
                message = {**message, "headers": headers}
            await send(message)

        self.metrics.inside += 1
        with logs.bind(request_id=request_id):
            try:
                await self.app(scope, receive, noting)
            except BaseException as error:
                if not answered and _is_cut_off(error):
                    await refuse(scope, noting, Unavailable.code, _ENDED, _RETRY_AFTER, _CLOSE)
                raise
            finally:
                self.metrics.inside -= 1
                self._note(scope, status, None if streams else time.perf_counter() - begun)
        return None

    def _note(self, scope: Scope, status: int, seconds: float | None) -> None:
        route = getattr(scope.get("route"), "path", "(none)")
        self.metrics.answered(scope["method"], route, status, seconds)
        level = logging.DEBUG if route in _QUIET else logging.INFO
        if logger.isEnabledFor(level):
            client = scope.get("client") or ("-",)
            logger.log(
                level,
                "%s %s %s %d %s",
                client[0],
                scope["method"],
                scope["path"].encode("unicode_escape").decode(),  # a line break must not forge a log line
                status,
                "stream" if seconds is None else f"{seconds * 1000:.1f}ms",
                extra={"method": scope["method"], "route": route, "status": status, "seconds": seconds},
            )


def _is_cut_off(error: BaseException) -> bool:
    """Whether the request was cancelled because the graceful shutdown ran out of time. Other errors may then
    be consequences: closing a session while a thread still waits for the database raises one of its own."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) or (task is not None and task.cancelling() > 0)
