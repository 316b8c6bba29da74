"""A lightweight HTTP client: `python -m benchmarks._load` reads a plan (JSON) and prints what it saw.

Python's HTTP clients take more of a core than the servers under test. This one supports only one request
after the other per connection, keep-alive and Content-Length, and runs in a separate process.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

_LEAST_SLEEP = 0.001
"""Seconds. uvloop rounds less down to zero, and a spinning client would take a core from the service."""
_LAST_ANSWERS = 2.0
"""Seconds to wait for responses after an open loop ends."""


@dataclass(frozen=True)
class Plan:
    """What to send. `rate` None is a closed loop: each of `clients` sends again when it has its response.
    Otherwise an open loop sends `rate` requests/s at even intervals, whatever comes back, over at most
    `clients` connections."""

    port: int
    path: str
    content_type: str
    bodies: Sequence[str]
    """Base64; sent in turn."""
    clients: int
    seconds: float
    rate: float | None = None
    warmup: float = 1.0
    """Seconds at the beginning that do not count."""
    method: str = "POST"


@dataclass(frozen=True)
class LoadResult:
    """Results for the requests after the warm-up. Latencies are in ms, from when a request was due."""

    seconds: float
    statuses: dict[str, int]
    answered: int
    """Responses with status 200."""
    p50: float
    p99: float
    refused_p99: float
    """The p99 of responses with another status; 0 if there are none."""
    unanswered: int = 0
    """Requests that were due but had no response at the end (open loop)."""

    @property
    def rate(self) -> float:
        """Requests answered per second."""
        return self.answered / self.seconds


def load(plan: Plan) -> LoadResult:
    """Carry out the plan in a separate process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks._load"],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        check=False,
        timeout=plan.warmup + plan.seconds + 60,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return LoadResult(**json.loads(done.stdout))


@dataclass
class _Tally:
    begin: float
    end: float
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, status: str, due: float, now: float, *, by_answer: bool) -> None:
        """A closed loop counts by when the response came, an open loop by when the request was due."""
        if not self.begin <= (now if by_answer else due) < self.end:
            return
        self.statuses[status] += 1
        (self.answered if status == "200" else self.refused).append((now - due) * 1000)


class _Connection(asyncio.Protocol):
    """One request at a time; `done(connection, status)` is called with each response."""

    def __init__(self, done: Callable[[_Connection, str], None]) -> None:
        self._done = done
        self._data = b""
        self.due = 0.0
        self.closed = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has the methods only

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head = self._data.find(b"\r\n\r\n")
        if head < 0:
            return
        lines = self._data[:head].lower()
        at = lines.index(b"content-length:") + 15
        stop = lines.find(b"\r\n", at)
        length = int(lines[at : stop if stop >= 0 else None])
        if len(self._data) < head + 4 + length:
            return
        status, self._data = self._data[9:12].decode(), b""
        self._done(self, status)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True  # a server closes connections that are idle for some seconds
        if self.due:
            self._done(self, "lost")


class _Client:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = [_request(plan, base64.b64decode(body)) for body in plan.bodies]
        self._number = 0
        now = time.perf_counter()
        self.tally = _Tally(now + plan.warmup, now + plan.warmup + plan.seconds)
        self._idle: list[_Connection] = []
        self._due: deque[float] = deque()
        self._open = 0
        self._opening: set[asyncio.Future[None]] = set()

    def next(self) -> bytes:
        self._number += 1
        return self._requests[self._number % len(self._requests)]

    async def connect(self, done: Callable[[_Connection, str], None]) -> _Connection:
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(done), "127.0.0.1", self._plan.port
        )
        return protocol

    async def closed(self) -> None:
        def again(connection: _Connection, status: str) -> None:
            now = time.perf_counter()
            self.tally.add(status, connection.due, now, by_answer=True)
            connection.due = 0.0
            if status != "lost" and now < self.tally.end:
                connection.send(self.next(), now)

        connections = [await self.connect(again) for _ in range(self._plan.clients)]
        for connection in connections:
            connection.send(self.next(), time.perf_counter())
        await asyncio.sleep(self.tally.end - time.perf_counter())

    async def open_loop(self, rate: float) -> int:
        """Open connections as needed. Returns how many due requests have no response."""
        sent, start = 0, time.perf_counter()
        while (now := time.perf_counter()) < self.tally.end:
            while start + sent / rate <= now:
                self._due.append(start + sent / rate)
                sent += 1
                self._send_due()
            await asyncio.sleep(max(_LEAST_SLEEP, start + sent / rate - now))
        await asyncio.sleep(_LAST_ANSWERS)
        counted = round((self.tally.end - self.tally.begin) * rate)
        return max(0, counted - sum(self.tally.statuses.values()))

    def _send_due(self) -> None:
        """Send due requests while there are connections for them."""
        while self._due and self._idle:
            connection = self._idle.pop()
            if connection.closed:
                self._open -= 1
            else:
                connection.send(self.next(), self._due.popleft())
        if self._due and self._open < self._plan.clients:
            self._open += 1
            self._opening.add(task := asyncio.ensure_future(self._grow()))
            task.add_done_callback(self._opening.discard)

    async def _grow(self) -> None:
        self._idle.append(await self.connect(self._free))
        self._send_due()

    def _free(self, connection: _Connection, status: str) -> None:
        self.tally.add(status, connection.due, time.perf_counter(), by_answer=False)
        connection.due = 0.0
        self._idle.append(connection)
        self._send_due()


def _request(plan: Plan, body: bytes) -> bytes:
    head = (
        f"{plan.method} {plan.path} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n"
        f"Content-Type: {plan.content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _carry_out(plan: Plan) -> LoadResult:
    client, unanswered = _Client(plan), 0
    if plan.rate is None:
        await client.closed()
    else:
        unanswered = await client.open_loop(plan.rate)
    tally = client.tally
    return LoadResult(
        plan.seconds,
        dict(tally.statuses),
        len(tally.answered),
        _quantile(tally.answered, 0.5),
        _quantile(tally.answered, 0.99),
        _quantile(tally.refused, 0.99),
        unanswered,
    )


def _quantile(values: list[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 3) if values else 0.0


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_carry_out(Plan(**json.load(sys.stdin)))))))
