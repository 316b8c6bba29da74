"""Admission control: refuses predictions beyond what could wait for the engine, before anything reads them.

With a small network, overload saturates the event loop rather than the engine's queue. A refusal must then
cost a small part of an answer; otherwise twice the rate would leave no time for answers, nor for /livez. So
`Admission` is outside of all other middleware, and refusals are counted but not logged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.headers import has_body, new_request_id
from app.operations.metrics import Metrics
from app.server.middleware.refusing import refuse
from core.errors import Overloaded
from masktune.contract.problems import PROBLEM_KINDS

_PATHS = ("/predict", "/saliency", "/ui/upload/image")
"""The last is the dashboard's, for an image to predict, where it is served beside the API."""
_RETRY_SECONDS = 1
_SLOW_SECONDS = 2.0
_SLOW_RETRY_SECONDS = 5
_STANDING_SECONDS = 0.1
"""Refusals that go on for this long are no longer a burst."""
_CALM_SECONDS = 1.0
"""Overload is over after this long without a refusal: the last refused client would have retried by now."""


class Gate:
    """Counts the requests for predictions and saliency maps in flight, and admits `most` at a time.

    While overload lasts longer than a burst, it admits a third as many: a standing queue delays every answer
    and adds no throughput (Nichols and Jacobson, Controlling Queue Delay, 2012).
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._few = (most + 2) // 3
        self.in_flight = 0
        """Slots in use."""
        self.slow_bodies = 0
        """Requests that have released their slots while their bodies are slow to arrive."""
        self.slow_seconds = _SLOW_SECONDS
        """How long a body may take before it counts as slow."""
        self._clock = clock
        self._refusing_since = self._refused_at = float("-inf")

    @property
    def full(self) -> bool:
        return self.in_flight >= self.most or (self.in_flight >= self._few and self._is_standing())

    def note_refusal(self) -> None:
        now = self._clock()
        if now - self._refused_at >= _CALM_SECONDS:
            self._refusing_since = now
        self._refused_at = now

    def _is_standing(self) -> bool:
        """Whether refusals have gone on for longer than a burst and are still going on."""
        standing = self._refused_at - self._refusing_since >= _STANDING_SECONDS
        return standing and self._clock() - self._refused_at < _CALM_SECONDS


@contextmanager
def without_slot(gate: Gate) -> Iterator[None]:
    """Release a request's slot while the block runs; afterwards take it again, however many are in use.

    For a request that waits for something other than an engine, and whose body is complete. The block itself
    must limit how many requests wait in it.
    """
    gate.in_flight -= 1
    try:
        yield
    finally:
        gate.in_flight += 1


class Admission:
    """Admits as many requests as the gate has slots, and answers the others with 503 at once."""

    def __init__(self, app: ASGIApp, gate: Gate, metrics: Metrics) -> None:
        self.app, self.gate, self.metrics = app, gate, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = "" if scope["type"] != "http" else scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in _PATHS:
            await self.app(scope, receive, send)
        elif self.gate.full:
            self.gate.note_refusal()
            self.metrics.answered(scope["method"], path, PROBLEM_KINDS[Overloaded.code].status, None)
            await _refuse(scope, send, "requests are being handled", _RETRY_SECONDS)
        elif has_body(scope):
            await _Slot(self.gate, scope, receive, send).run(self.app)
        else:
            self.gate.in_flight += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.gate.in_flight -= 1


class _Slot:
    """The slot of a request with a body, released while the body is slow to arrive.

    Otherwise clients that send a few bytes a second could occupy every slot and block all predictions.
    """

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self._gate, self._scope = gate, scope
        self._receive_piece, self._send_piece = receive, send
        self._seconds_left = gate.slow_seconds
        self._is_slow = self._complete = self._refused = False

    async def run(self, app: ASGIApp) -> None:
        self._gate.in_flight += 1
        try:
            await app(self._scope, self._receive, self._send)
        finally:
            self._acquire()
            self._gate.in_flight -= 1

    async def _receive(self) -> Message:
        if self._refused:
            return {"type": "http.disconnect"}
        loop = asyncio.get_running_loop()
        began = loop.time()
        limit = None if self._complete or self._is_slow else began + self._seconds_left
        try:
            async with asyncio.timeout_at(limit):
                message = await self._receive_piece()
        except TimeoutError:
            if self._gate.slow_bodies >= self._gate.most:
                self._refused = True
                await _refuse(
                    self._scope, self._send_piece, "bodies are arriving slowly", _SLOW_RETRY_SECONDS
                )
                return {"type": "http.disconnect"}
            self._release()
            message = await self._receive_piece()
        self._seconds_left -= loop.time() - began
        if not message.get("more_body", False):
            self._complete = True
            self._acquire()
        return message

    async def _send(self, message: Message) -> None:
        if not self._refused:
            await self._send_piece(message)

    def _release(self) -> None:
        """Free the slot until the body has arrived."""
        self._is_slow = True
        self._gate.slow_bodies += 1
        self._gate.in_flight -= 1

    def _acquire(self) -> None:
        """Take a released slot again, however many are in use."""
        if self._is_slow:
            self._is_slow = False
            self._gate.slow_bodies -= 1
            self._gate.in_flight += 1


async def _refuse(scope: Scope, send: Send, what: str, seconds: int) -> None:
    detail = f"too many {what}; try again in {seconds} s"
    headers = (b"retry-after", str(seconds).encode()), (b"x-request-id", new_request_id().encode())
    await refuse(scope, send, Overloaded.code, detail, *headers)
