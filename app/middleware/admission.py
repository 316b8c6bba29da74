"""More predictions in flight than could wait for the engine: refused before anything looks at them.

Where a network is small the event loop is what overload fills, not the engine's queue. A refusal must cost
a small part of an answer then, or twice the rate would leave no time for answers, nor for /livez. So our own
server asks the `Gate` when a request's head is there, before there is a task for it, and takes its place
there and then: what arrives in one turn of the loop may be far more than fits. `Admission` asks it for the
others, under another server or where a path is spelled in an unusual way. Who takes a place gives it back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.locations import location
from app.middleware.refusing import Headers, as_bytes
from core.errors import PROBLEM_BASE, Overloaded, problem

_PATHS = ("/predict", "/saliency")
_RETRY_SECONDS = 1
_STANDING_SECONDS = 0.1
"""Refusals for so long are no burst any more."""
_CALM_SECONDS = 1.0
"""Without a refusal for so long it is over: who was refused last would be back by now."""

PLACE = "masktune.place"
"""In the scope of a request that has its place already."""


class Gate:
    """Counts requests for predictions and maps that are being answered; `most` of them at a time.

    While more come than can be answered for longer than a burst, a third as many: a queue that never empties
    makes every answer late and none more (Nichols and Jacobson, Controlling Queue Delay, 2012).
    """

    def __init__(
        self, most: int, *, root_path: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self.inside = 0
        self.outside = 0
        """Those whose bodies are slow to come (`Place.step_out`)."""
        self._clock = clock
        self._refusing_since = self._refused_at = float("-inf")
        detail = f"there is no room for another request now; try again in {_RETRY_SECONDS} s"
        base, retry = location(root_path, PROBLEM_BASE), (b"retry-after", str(_RETRY_SECONDS).encode())
        self._refusals = {
            path: as_bytes(problem(Overloaded, detail, instance=location(root_path, path), base=base), retry)
            for path in _PATHS
        }
        self.refused: Callable[[str], None] = _nobody
        """Is told of each request that a server refused by itself, with its path."""

    @property
    def full(self) -> bool:
        if self.inside < (self.most + 2) // 3:
            return False
        return self.inside >= self.most or self._is_standing()

    def covers(self, path: str) -> bool:
        """Whether it bounds requests for this path, which has no prefix of a proxy before it."""
        return path in _PATHS

    def refusal(self, path: str) -> tuple[Headers, bytes]:
        """Headers and body of the 503 for one of our paths."""
        self._note_refusal()
        return self._refusals[path]

    def _note_refusal(self) -> None:
        now = self._clock()
        if now - self._refused_at >= _CALM_SECONDS:
            self._refusing_since = now
        self._refused_at = now

    def _is_standing(self) -> bool:
        """Whether refusals have gone on for longer than a burst, and go on."""
        standing = self._refused_at - self._refusing_since >= _STANDING_SECONDS
        return standing and self._clock() - self._refused_at < _CALM_SECONDS


class Place:
    """That of one request: inside the gate, or outside while its body is slow to come."""

    __slots__ = ("_gate", "_inside", "_outside")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._inside = self._outside = False

    def enter(self) -> None:
        self._inside = True
        self._gate.inside += 1

    def step_out(self) -> bool:
        """Make room for others until the body is there. False where as many wait outside as may be inside."""
        if not self._inside:
            return True
        if self._gate.outside >= self._gate.most:
            return False
        self.leave()
        self._outside = True
        self._gate.outside += 1
        return True

    def step_in(self) -> None:
        """The body is there: it is answered, however many are inside."""
        if self._outside:
            self.leave()
            self.enter()

    def leave(self) -> None:
        self._gate.inside -= self._inside
        self._gate.outside -= self._outside
        self._inside = self._outside = False


class Admission:
    """Lets as many requests in as the gate has room for, and answers 503 to the others at once."""

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
    """Is told and does nothing."""
