"""Admission control: refuses predictions beyond what could wait for the engine, before anything reads them.

With a small network, overload saturates the event loop rather than the engine's queue. A refusal must then
cost a small part of an answer; otherwise twice the rate would leave no time for answers, nor for /livez. So
`Admission` is outside of all other middleware, and refusals are counted but not logged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.headers import new_request_id
from app.server.middleware.refusing import refuse
from core.errors import Overloaded

_PATHS = ("/predict", "/saliency")
_METHODS = ("GET", "HEAD", "POST")
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
        self.inside = 0
        self.outside = 0
        """Requests whose bodies are slow to arrive (`Place.step_out`)."""
        self.slow_seconds = _SLOW_SECONDS
        """How long a body may take before it counts as slow."""
        self._clock = clock
        self._refusing_since = self._refused_at = float("-inf")
        self.refused: Callable[[str, str], None] = _nobody
        """Called with method and path of each request that is refused."""

    @property
    def full(self) -> bool:
        return self.inside >= self.most or (self.inside >= self._few and self._is_standing())

    def note_refusal(self) -> None:
        now = self._clock()
        if now - self._refused_at >= _CALM_SECONDS:
            self._refusing_since = now
        self._refused_at = now

    def _is_standing(self) -> bool:
        """Whether refusals have gone on for longer than a burst and are still going on."""
        standing = self._refused_at - self._refusing_since >= _STANDING_SECONDS
        return standing and self._clock() - self._refused_at < _CALM_SECONDS


class Place:
    """Place of one request: inside the gate, or outside while its body is slow to arrive."""

    __slots__ = ("_gate", "_inside", "_outside")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._inside = self._outside = False

    def enter(self) -> None:
        self._inside = True
        self._gate.inside += 1

    def step_out(self) -> bool:
        """Free the place until the body has arrived. False if `most` requests are already outside."""
        if not self._inside:
            return True
        if self._gate.outside >= self._gate.most:
            return False
        self.leave()
        self._outside = True
        self._gate.outside += 1
        return True

    def step_in(self) -> None:
        """Take the place again once the body has arrived, however many are inside."""
        if self._outside:
            self.leave()
            self.enter()

    def leave(self) -> None:
        self._gate.inside -= self._inside
        self._gate.outside -= self._outside
        self._inside = self._outside = False


class Admission:
    """Admits as many requests as the gate has room for, and answers the others with 503 at once."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app, self.gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = "" if scope["type"] != "http" else scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in _PATHS:
            return await self.app(scope, receive, send)
        if self.gate.full:
            self.gate.note_refusal()
            self.gate.refused(scope["method"] if scope["method"] in _METHODS else "(other)", path)
            return await _refuse(scope, send, "requests are being handled", _RETRY_SECONDS)
        await _Admitted(self.gate, scope, receive, send).run(self.app)
        return None


class _Admitted:
    """A request inside, which gives up its place while its body is slow to arrive.

    Otherwise clients that send a few bytes a second could occupy every place and block all predictions.
    """

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive_piece, self._send_piece = scope, receive, send
        self._place = Place(gate)
        self._left = gate.slow_seconds
        self._complete = self._refused = False

    async def run(self, app: ASGIApp) -> None:
        self._place.enter()
        try:
            await app(self._scope, self._receive, self._send)
        finally:
            self._place.leave()

    async def _receive(self) -> Message:
        if self._refused:
            return {"type": "http.disconnect"}
        began, loop = time.monotonic(), asyncio.get_running_loop()
        limit = None if self._complete or self._left <= 0 else loop.time() + self._left
        try:
            async with asyncio.timeout_at(limit):
                message = await self._receive_piece()
        except TimeoutError:
            if not self._place.step_out():
                self._refused = True
                await _refuse(
                    self._scope, self._send_piece, "bodies are arriving slowly", _SLOW_RETRY_SECONDS
                )
                return {"type": "http.disconnect"}
            message = await self._receive_piece()
        self._left -= time.monotonic() - began
        if not message.get("more_body", False):
            self._complete = True
            self._place.step_in()
        return message

    async def _send(self, message: Message) -> None:
        if not self._refused:
            await self._send_piece(message)


async def _refuse(scope: Scope, send: Send, what: str, seconds: int) -> None:
    detail = f"too many {what}; try again in {seconds} s"
    headers = (b"retry-after", str(seconds).encode()), (b"x-request-id", new_request_id().encode())
    await refuse(scope, send, Overloaded, detail, *headers)


def _nobody(method: str, path: str) -> None:
    """Ignore the refusal."""
