"""The edge: all that a request passes before the application and an answer after it, in one class.

In order: who is asking (`Proxies`), whether the head is in order (`guard.fault`), whether there is a place
for a prediction, whether a page of another site sent it (`Guard`), whether the declared length of its body is
within the limit; then the request's id, its line in the log and its metrics. What its body may cost while it
arrives is for its `Exchange`.

With a small network, overload saturates the event loop rather than the engine's queue. To refuse a prediction
must then cost a small part of an answer; otherwise twice the rate would leave no time for answers, nor for
/livez. So it is refused by its head, with an answer that was written before, and counted but not logged.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.headers import has_body, header, new_request_id
from app.server.clock import CLOCK, Clock, TimeLimits
from app.server.exchange import ENDED, Enough, Exchange, too_large
from app.server.guard import Guard, fault
from app.server.proxies import Proxies
from app.server.refusing import Header, Refusal, as_bytes
from core import logs
from core.errors import problem
from masktune.contract.problems import PROBLEM_KINDS, ErrorCode

if TYPE_CHECKING:  # torch's neighbours: the dashboard alone, which has neither, starts without them
    from app.inference import Admission
    from app.operations.metrics import Metrics

logger = logging.getLogger("masktune.access")

LimitOf = Callable[[Scope], int]
"""Returns the limit, in bytes, for the body of this request."""

_PREDICTED = frozenset({"/predict", "/saliency", "/ui/upload/image"})
"""Paths that need a place. The last is the dashboard's, for an image to predict."""
_HARMLESS_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
"""Polled by machines every few seconds, so logged at debug level."""
_POLICY_VIOLATION = 1008
"""Close code of a web socket (RFC 6455, 7.4.1)."""
_OVERLOADED = PROBLEM_KINDS[ErrorCode.OVERLOADED].status


class Edge:
    """Around an API, or around the pages of the dashboard.

    With `limit_of` and `metrics` it is an API: bodies have limits, and requests an id, a line in the log and
    metrics. The client's `X-Request-ID` is kept if it is harmless, else one is generated; the response
    carries it, and the `headers` of the request's state, for dependencies that have no response yet.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        proxies: Proxies,
        guard: Guard,
        admission: Admission | None = None,
        metrics: Metrics | None = None,
        limit_of: LimitOf | None = None,
    ) -> None:
        self._app, self._proxies, self._guard = app, proxies, guard
        self._admission, self._limit_of = admission, limit_of
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        await self._proxies.apply(scope)
        clock: Clock = scope.setdefault("state", {}).get(CLOCK) or Clock(TimeLimits())
        clock.request_begun()
        try:
            if scope["type"] == "http":
                await self._exchange(clock, scope, receive, send)
            elif await self._guard.allows_socket(scope):
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        finally:
            clock.request_ended()
        return None

    async def _exchange(self, clock: Clock, scope: Scope, receive: Receive, send: Send) -> None:
        refusal, admission = fault(scope), self._admission_of(scope)
        if refusal is None and admission is not None and admission.full:
            exchange = Exchange(clock, scope, receive, send, new_request_id())
            admission.note_refusal()
            if self._metrics is not None:
                self._metrics.answered(scope["method"], _path(scope), _OVERLOADED, None)
            await exchange.answer(_OVERLOADED, *_no_place(scope["path"]))
        else:
            exchange = Exchange(clock, scope, receive, send, self._request_id(scope))
            if refusal is None and admission is not None:
                exchange.enter(admission)
            try:
                await self._observed(exchange, refusal)
            except ClientDisconnect:
                if not exchange.refused:  # else it is what the application was told
                    raise
            finally:
                exchange.leave()
        await exchange.finish()

    def _admission_of(self, scope: Scope) -> Admission | None:
        return self._admission if _path(scope) in _PREDICTED else None

    def _request_id(self, scope: Scope) -> str:
        """The id of an API's request, which is noted in its state."""
        if self._limit_of is None:
            return ""
        client_id = header(scope, b"x-request-id").decode("latin-1")
        request_id = client_id if _HARMLESS_ID.fullmatch(client_id) else new_request_id()
        scope["state"]["request_id"] = request_id
        return request_id

    async def _observed(self, exchange: Exchange, refusal: Refusal | None) -> None:
        """Refuse or answer, with metrics and a line in the log if this is an API."""
        metrics = self._metrics
        if self._limit_of is None or metrics is None:
            return await self._checked(exchange, refusal)
        begun = time.perf_counter()
        metrics.inside += 1
        with logs.bind(request_id=exchange.scope["state"]["request_id"]):
            try:
                await self._checked(exchange, refusal)
            except asyncio.CancelledError:  # the graceful shutdown ran out of time
                if not exchange.started:
                    await exchange.refuse(ENDED)
                raise
            finally:
                metrics.inside -= 1
                _note(metrics, exchange, None if exchange.streams else time.perf_counter() - begun)
        return None

    async def _checked(self, exchange: Exchange, refusal: Refusal | None) -> None:
        scope = exchange.scope
        refusal = refusal or await self._guard.refusal(scope)
        if refusal is None and self._limit_of is not None and has_body(scope):
            exchange.limit = self._limit_of(scope)
            declared = header(scope, b"content-length")
            if declared.isdigit() and int(declared) > exchange.limit:
                refusal = too_large(exchange.limit)
        if refusal is not None:
            return await exchange.refuse(refusal)
        receive = exchange.receive if has_body(scope) else exchange.receive_piece
        if scope["method"] != "HEAD":
            return await self._app(scope, receive, exchange.send)
        # `HEAD` wherever there is `GET` (RFC 9110, 9.3.2): routes and OpenAPI only define `GET`.
        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, exchange.send)
        except Enough:
            pass
        finally:
            scope["route"] = as_get.get("route")  # for the log and the metrics
        return None


def _note(metrics: Metrics, exchange: Exchange, seconds: float | None) -> None:
    scope, status = exchange.scope, exchange.status
    route = getattr(scope.get("route"), "path", "(none)")
    metrics.answered(scope["method"], route, status, seconds)
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


def _path(scope: Scope) -> str:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path


@lru_cache(maxsize=16)  # of a few paths
def _no_place(path: str) -> tuple[Sequence[Header], bytes]:
    detail = "too many requests are being handled; try again in 1 s"
    return as_bytes(problem(ErrorCode.OVERLOADED, detail, instance=path), (b"retry-after", b"1"))
