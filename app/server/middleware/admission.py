"""Admission control: refuses predictions beyond what could wait for the engine, before anything reads them.

With a small network, overload saturates the event loop rather than the engine's queue. A refusal must then
cost a small part of an answer; otherwise twice the rate would leave no time for answers, nor for /livez. So
our own server asks the `Gate` as soon as a request's head has arrived, before it creates a task, and takes
the place at once, because one turn of the loop may bring far more requests than fit. `Admission` asks the
gate for all other requests: under another server, or with an unusually spelled path. Whoever takes a place
must release it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.locations import location
from app.server.middleware.refusing import Headers, as_bytes
from core.errors import PROBLEM_BASE, Overloaded, problem

_PATHS = ("/predict", "/saliency")
_RETRY_SECONDS = 1
_STANDING_SECONDS = 0.1
"""Refusals that go on for this long are no longer a burst."""
_CALM_SECONDS = 1.0
"""Overload is over after this long without a refusal: the last refused client would have retried by now."""

PLACE = "masktune.place"
"""Scope key of a request that already has its place."""


class Gate:
    """Counts the requests for predictions and saliency maps in flight, and admits `most` at a time.

    While overload lasts longer than a burst, it admits a third as many: a standing queue delays every answer
    and adds no throughput (Nichols and Jacobson, Controlling Queue Delay, 2012).
    """

    def __init__(
        self, most: int, *, root_path: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self._few = (most + 2) // 3
        self.inside = 0
        self.outside = 0
        """Requests whose bodies are slow to arrive (`Place.step_out`)."""
        self._clock = clock
        self._refusing_since = self._refused_at = float("-inf")
        detail = f"too many requests are being handled; try again in {_RETRY_SECONDS} s"
        base, retry = location(root_path, PROBLEM_BASE), (b"retry-after", str(_RETRY_SECONDS).encode())
        self._refusals = {
            path: as_bytes(problem(Overloaded, detail, instance=location(root_path, path), base=base), retry)
            for path in _PATHS
        }
        self.refused: Callable[[str], None] = _nobody
        """Called with the path of each request that the server refused without the application."""

    @property
    def full(self) -> bool:
        return self.inside >= self.most or (self.inside >= self._few and self._is_standing())

    def covers(self, path: str) -> bool:
        """Whether the gate limits requests for this path, given without a proxy's prefix."""
        return path in _PATHS

    def refusal(self, path: str) -> tuple[Headers, bytes]:
        """Record a refusal, and return headers and body of the 503 for one of the gate's paths."""
        self._note_refusal()
        return self._refusals[path]

    def _note_refusal(self) -> None:
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
        if scope["type"] != "http" or PLACE in scope:
            return await self.app(scope, receive, send)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if not self.gate.covers(path):
            return await self.app(scope, receive, send)
        if self.gate.full:
            headers, body = self.gate.refusal(path)
            await send({"type": "http.response.start", "status": Overloaded.status, "headers": headers})
            return await send({"type": "http.response.body", "body": body})
        self.gate.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.gate.inside -= 1
        return None


def _nobody(path: str) -> None:
    """Ignore the refusal."""
