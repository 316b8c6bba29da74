"""How long the client of one connection may take: to send a head or a body, and to read an answer.

Otherwise a client that sends or reads a byte now and then could hold a connection for as long as it likes
(slowloris), before its key is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

ANSWER_BYTES = 48 << 10
"""What a client must read of an answer in `TimeLimits.answer`: about what asyncio buffers before it waits."""
CLOCK = "masktune.clock"
"""Key of a connection's `Clock` in the `state` of its requests' scopes."""


@dataclass(frozen=True)
class TimeLimits:
    """Seconds that a client may take. Time during which it must wait for us does not count."""

    head: float = 10.0
    """From the start of the connection, or the end of an answer, to the end of the next request's head."""
    body: float = 20.0
    """How far a body may fall behind `pace`: a short network stall is not an attack."""
    answer: float = 60.0
    """To read `ANSWER_BYTES` of an answer."""
    drain: float = 20.0
    """To send the rest of a body after its answer."""
    pause: float = 2.0
    """Between two pieces of such a rest."""
    pace: float = 500.0
    """Average bytes per second of a body (as in Apache's mod_reqtimeout)."""


class Clock:
    """Closes one connection whose client sends no request, and cuts it off if it does not read its answer.

    Without a connection (`opened`), as under another server, it only has the limits.
    """

    def __init__(self, limits: TimeLimits, read_next: Callable[[], None] | None = None) -> None:
        """`read_next` is called soon after each request."""
        self.limits, self._read_next = limits, read_next or _nothing
        self.body_arrived = False
        """Whether the whole body of the request is there: to await it needs no limit."""
        self._transport: asyncio.Transport | None = None
        self._idle_since: float | None = None
        """None while a request is answered."""
        self._next_look: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def opened(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._idle_since = asyncio.get_running_loop().time()
        self._look()

    def lost(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self.read_on()
        # They refer to the connection, which would have to be found by the collector.
        self._transport, self._next_look, self._read_next = None, None, _nothing

    @contextmanager
    def request(self) -> Iterator[None]:
        """While a request is answered; then the next is waited for."""
        self._idle_since = None
        try:
            yield
        finally:
            if self._transport is not None:
                loop = asyncio.get_running_loop()
                self._idle_since = loop.time()
                loop.call_soon(self._read_next)  # and not within the task that has answered

    def _look(self) -> None:
        """Close the connection if no head has come for `head` seconds; else look again when that may be so.

        A timer for each request would be a tenth of the cost of a refusal."""
        loop = asyncio.get_running_loop()
        left = self.limits.head
        if self._idle_since is not None:
            left -= loop.time() - self._idle_since
        if left > 0:
            self._next_look = loop.call_later(left, self._look)
        else:
            self.close()

    def await_reader(self) -> None:
        """Cut it off unless the client reads what was sent, `ANSWER_BYTES` per `answer` seconds."""
        if self._transport is not None and self._unread is None:
            pieces = max(1.0, self._transport.get_write_buffer_size() / ANSWER_BYTES)
            loop = asyncio.get_running_loop()
            self._unread = loop.call_later(self.limits.answer * pieces, self.cut_off)

    def read_on(self) -> None:
        """The client has read enough for now."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def close(self) -> None:
        """Close the connection once its client has read what was sent, or has stopped reading."""
        if self._transport is not None:
            self._transport.close()
            self.await_reader()

    def cut_off(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()


def _nothing() -> None:
    """Nobody reads on."""
