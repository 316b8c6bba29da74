"""One request and its answer, as `Edge` passes them on: its id, its place, its body, its line in the log."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.headers import header
from app.server.clock import Clock
from app.server.refusing import CLOSE, Header, Refusal, as_bytes
from core import logs
from core.errors import problem
from masktune.contract.problems import PROBLEM_KINDS, ErrorCode

if TYPE_CHECKING:
    from app.inference import Admission
    from app.operations.metrics import Metrics

logger = logging.getLogger("masktune.access")

ANSWER_HEADERS = "answer_headers"
"""Key in the `state` of a request's scope of what `Edge` adds to its answer, whatever that is."""
_HARMLESS_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
"""Polled by machines every few seconds, so logged at debug level."""
_DISCONNECT: Message = {"type": "http.disconnect"}
_STREAM = b"text/event-stream"
_HARDENING = ((b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY"))
"""A browser neither guesses the type of an answer nor shows one, such as `/docs`, inside another page."""
_RETRY_SECONDS = 5
_SLOW = Refusal(
    ErrorCode.OVERLOADED,
    f"too many bodies are arriving slowly; try again in {_RETRY_SECONDS} s",
    ((b"retry-after", str(_RETRY_SECONDS).encode()),),
)
_SHUTDOWN = Refusal(
    ErrorCode.UNAVAILABLE,
    "the service shut down before this was done; send the request again, with the same Idempotency-Key if "
    "any",
    ((b"retry-after", b"5"), CLOSE),
)
_UNEXPECTED = PROBLEM_KINDS[ErrorCode.INTERNAL].status
_NONE: Mapping[str, str] = {}


class _Enough(Exception):
    """Stops an application that answers HEAD in parts: a stream may be endless, and a file has many."""


class Exchange:
    """Counts the body against its limit and its pace, and sends the answer.

    An answer arrives although its client is still sending the body: its end is held back until the body is
    there (`finish`). To HEAD, only the head of an answer is sent.
    """

    def __init__(self, clock: Clock, scope: Scope, receive: Receive, send: Send, *, is_api: bool) -> None:
        """A request to an API has an id: the client's `X-Request-ID` if that is harmless, else a new one.
        The answer carries it, and the `headers` of the request's state, for dependencies that have no
        response yet."""
        self.scope, self._clock, self._receive_piece, self._send_piece = scope, clock, receive, send
        client_id = header(scope, b"x-request-id").decode("latin-1") if is_api else ""
        # 16 hex digits that need to be distinct, not secret; `os.urandom` would cost more.
        new_id = f"{random.getrandbits(64):016x}" if is_api else ""  # nosec B311
        self._request_id = client_id if _HARMLESS_ID.fullmatch(client_id) else new_id
        self._status = _UNEXPECTED
        self._started = self._streams = self._refused = False
        """Whether the answer has begun, is an event stream, is a refusal."""
        self._limit: int | None = None
        self._admission: Admission | None = None
        self._complete = not (header(scope, b"content-length") or header(scope, b"transfer-encoding"))
        """Whether the whole body has been received."""
        self._undecided = header(scope, b"expect").lower() == b"100-continue"
        """Whether the client waits to be told to send its body."""
        self._received, self._waited = 0, 0.0
        self._slow = self._ended = False
        """Whether the place was given up, and whether the end of the answer waits for that of the body."""

    async def run(
        self,
        app: ASGIApp,
        refusal: Refusal | None,
        *,
        limit: int | None,
        admission: Admission | None,
        metrics: Metrics | None,
    ) -> None:
        """Refuse, or have the application answer to a body of up to `limit` bytes; then note it.

        A prediction takes a place of `admission`, which is given up while the body is slow to arrive.
        Otherwise clients that send a few bytes a second could occupy every place and block all predictions.
        """
        begun, scope = time.perf_counter(), self.scope
        if scope["method"] == "HEAD":  # wherever there is `GET` (RFC 9110, 9.3.2), the only one of routes
            scope = {**scope, "method": "GET"}
        scope["state"]["request_id"] = self._request_id
        self._limit, self._admission = limit, admission
        if admission is not None:
            admission.in_flight += 1
        if metrics is not None:
            metrics.inside += 1
        with logs.bind(request_id=self._request_id or None):
            try:
                if refusal is None:
                    await app(scope, self._receive_piece if self._complete else self._receive, self._send)
                else:
                    await self.refuse(refusal)
            except asyncio.CancelledError:  # the graceful shutdown ran out of time
                if not self._started:
                    await self.refuse(_SHUTDOWN)
                raise
            except ClientDisconnect:
                if not self._refused:  # else it is what the application was told
                    raise
            except _Enough:
                pass
            finally:
                if admission is not None:
                    if self._slow:
                        self._take_again()
                    admission.in_flight -= 1
                if metrics is not None:
                    metrics.inside -= 1
                    self._note(metrics, scope, None if self._streams else time.perf_counter() - begun)
        await self.finish()

    # --- the place ----------------------------------------------------------------------------

    def _give_up(self, admission: Admission) -> bool:
        """Free the place until the body has arrived. False if too many others already have."""
        if admission.slow_bodies >= admission.most:
            return False
        self._slow = True
        admission.slow_bodies += 1
        admission.in_flight -= 1
        return True

    def _take_again(self) -> None:
        """Take a place that was given up, however many are in use."""
        assert self._admission is not None
        self._slow = False
        self._admission.slow_bodies -= 1
        self._admission.in_flight += 1

    # --- the body -----------------------------------------------------------------------------

    async def _receive(self) -> Message:
        if self._refused:
            return _DISCONNECT
        self._undecided = False
        if self._complete:
            return await self._receive_piece()
        began = asyncio.get_running_loop().time()
        message = await self._next_piece(began)
        if message is None:
            return _DISCONNECT
        self._waited += asyncio.get_running_loop().time() - began
        self._received += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._complete = True
            if self._slow:
                self._take_again()
        if self._limit is not None and self._received > self._limit:
            await self.refuse(too_large(self._limit))
            return _DISCONNECT
        return message

    async def _next_piece(self, began: float) -> Message | None:
        """Await the next piece within the time that is left, in a place and in all; None after a refusal."""
        if self._clock.body_arrived:
            return await self._receive_piece()
        limits, admission = self._clock.limits, self._admission
        if admission is not None and not self._slow:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began + admission.slow_seconds - self._waited):
                    return await self._receive_piece()
            if not self._give_up(admission):
                await self.refuse(_SLOW)
                return None
        with suppress(TimeoutError):
            late = limits.body + self._received / limits.pace - self._waited
            async with asyncio.timeout_at(began + late):
                return await self._receive_piece()
        self._complete = True  # the rest is not waited for
        detail = f"the body arrived at less than {limits.pace:g} bytes/s; send it again, faster"
        await self.refuse(Refusal(ErrorCode.REQUEST_TIMEOUT, detail, (CLOSE,)))
        return None

    # --- the answer ---------------------------------------------------------------------------

    async def _send(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start":
            if message["status"] == _UNEXPECTED and _is_cut_off():
                await self.refuse(_SHUTDOWN)
            else:
                await self._send_piece(self._start(message))
            return
        more = message.get("more_body", False)
        is_head = self.scope["method"] == "HEAD"
        if is_head:
            message = {"type": "http.response.body"}
        arrived = self._complete or self._clock.body_arrived
        if not arrived and not (more and not is_head):
            self._ended = True
            message = {**message, "more_body": True}
        await self._send_piece(message)
        if is_head and more:
            raise _Enough

    def _start(self, message: Message) -> Message:
        self._started, self._status = True, message["status"]
        headers: list[Header] = list(message.get("headers", ()))
        self._streams = any(n == b"content-type" and v.startswith(_STREAM) for n, v in headers)
        if self._request_id:
            headers += ((b"x-request-id", self._request_id.encode()), *_HARDENING)
            headers += self.scope["state"].get(ANSWER_HEADERS, ())
            for name, text in self.scope["state"].get("headers", _NONE).items():
                headers.append((name.lower().encode(), text.encode()))
        if self._undecided:  # the body may or may not follow: what comes next could be either
            self._complete = True
            headers.append(CLOSE)
        return {**message, "headers": headers}

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a problem, or cut off an answer that has begun.
        To the application the client has disconnected."""
        if self._started:
            self._clock.cut_off()
        else:
            body = problem(refusal.code, refusal.detail, instance=self.scope["path"])
            await self.answer(body["status"], *as_bytes(body, *refusal.headers))
        self._refused = True

    async def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Send an answer that is complete; `finish` follows."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def finish(self) -> None:
        """Receive the rest of the body and end the answer, if it waits for that.
        Closing with unread bytes would reset the connection, and the client might lose the answer (RFC 9112,
        9.6)."""
        if not self._ended:
            return
        try:
            async with asyncio.timeout(self._clock.limits.drain):
                while not self._complete:
                    async with asyncio.timeout(self._clock.limits.pause):
                        message = await self._receive_piece()
                    self._complete = not message.get("more_body", False)
        except TimeoutError:
            self._clock.close()
        await self._send_piece({"type": "http.response.body"})

    def _note(self, metrics: Metrics, routed: Scope, seconds: float | None) -> None:
        """Count the request, which the router was given as `routed`, and write its line in the log."""
        scope, status = self.scope, self._status
        route = getattr(routed.get("route"), "path", "(none)")
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


def too_large(limit: int) -> Refusal:
    """The refusal of a body beyond this limit, in bytes."""
    detail = f"the body may have at most {limit} bytes; send less, or ask the operator to raise the limit"
    return Refusal(ErrorCode.PAYLOAD_TOO_LARGE, detail, (CLOSE,))


def _is_cut_off() -> bool:
    """Whether the request was cancelled because the graceful shutdown ran out of time.
    An error may then be a consequence: closing a session while a thread still waits for the database raises
    one of its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
