"""A child's pipes to its supervisor: JSON lines on stdout, which nothing else can print to, and what it
reads on stdin.

On stdin come the spec, then the lease's deadlines, and passes and their shards. On its end-of-file, which
means that the supervisor is gone, or when the deadline passes, the child ends itself with its whole process
group. So no child works beyond its lease, whether its supervisor was killed or merely stopped.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from typing import Self

from pydantic import TypeAdapter

from worker.protocol import ABANDONED, Alive, LogLine, Message, PassSpec, ShardsWanted

_ALIVE_SECONDS = 1.0
"""Seconds between two signs of life from a loop that calls `alive` at every step: few enough writes."""
_ANSWER_SECONDS = 1.0
"""How long a child waits for shards before it goes on without: the supervisor's answer takes milliseconds."""


class Reporter:
    """Writes messages (`worker.protocol`) to a file descriptor, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._one_at_a_time = threading.Lock()
        self._last_write_at = float("-inf")

    @classmethod
    def take_stdout(cls) -> Self:
        """Reserve stdout for messages; from now on, whatever libraries print goes to stderr."""
        descriptor = os.dup(1)
        os.dup2(2, 1)
        return cls(descriptor)

    def alive(self) -> None:
        """Send a sign of life if nothing was sent for a second.
        Loops call this at every step."""
        if time.monotonic() > self._last_write_at + _ALIVE_SECONDS:
            self.send(Alive())

    def log(self, message: str) -> None:
        """Write a line to the job's log."""
        self.send(LogLine(message=message))

    def send(self, message: Message) -> None:
        """Write a message. JSON has no NaN or infinity; a report must not be lost because of one."""
        left = json.dumps(finite(asdict(message)), allow_nan=False).encode() + b"\n"
        with self._one_at_a_time:
            while left:
                left = left[os.write(self.descriptor, left) :]
            self._last_write_at = time.monotonic()


def finite(json_value: object) -> object:
    """The same plain value with None in place of NaN and infinities, which JSON does not have."""
    match json_value:
        case float():
            return json_value if abs(json_value) < float("inf") else None
        case Mapping():
            return {key: finite(inner) for key, inner in json_value.items()}
        case list() | tuple():
            return [finite(inner) for inner in json_value]
        case _:
            return json_value


@dataclass(frozen=True)
class ShardOrder:
    """Shards of the pass with this `key` that the process is to compute.
    One that helps a job is told with `opened` what the pass is, before it gets the first."""

    key: str
    numbers: list[int]
    opened: PassSpec | None


_ORDER = TypeAdapter(ShardOrder)


class ParentWatch:
    """Reads lines from a file descriptor, unbuffered so that no line is held back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._until = float("inf")
        self.orders = SimpleQueue[ShardOrder]()
        """Those that were received."""

    def first_line(self) -> bytes:
        """Wait for the first line. Raises EOFError if stdin ends before it."""
        while b"\n" not in self._rest:
            if not self._receive():
                raise EOFError("stdin ended before the spec")
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def watch(self) -> None:
        """From now on, end this process group as soon as the supervisor is gone or the lease expires."""
        threading.Thread(target=self._watch, name="parent-watch", daemon=True).start()

    def _watch(self) -> None:
        try:
            while (left := self._deadline() - time.monotonic()) > 0:
                readable, _, _ = select.select([self._descriptor], [], [], min(left, 3600.0))
                if readable and not self._receive():
                    return
        finally:
            end_process_group()

    def _receive(self) -> bool:
        """Read what there is; False at the end of the file."""
        chunk = os.read(self._descriptor, 1 << 16)
        self._rest += chunk
        return bool(chunk)

    def _deadline(self) -> float:
        """The newest deadline that has been received in full."""
        *lines, self._rest = self._rest.split(b"\n")
        for message in map(json.loads, lines):
            if "until" in message:
                self._until = float(message["until"])
            else:
                self.orders.put(_ORDER.validate_python(message))
        return self._until


class ShardRequests:
    """Takes shards of the pass with this key by way of the supervisor."""

    def __init__(self, key: str, reporter: Reporter, orders: SimpleQueue[ShardOrder]) -> None:
        self._key, self._reporter, self._orders = key, reporter, orders
        self._waits = False

    def take(self, count: int) -> list[int] | None:
        """As `worker.passes.shards.Take`. A request that was not answered is not made again: the supervisor
        answers when it can, and is asked for more then."""
        patience = 0.0 if self._waits else _ANSWER_SECONDS
        if not self._waits:
            self._reporter.send(ShardsWanted(key=self._key, count=count))
            self._waits = True
        with suppress(Empty):
            while (order := self._orders.get(timeout=patience)).key != self._key:
                pass  # of the pass before
            self._waits = False
            return order.numbers
        return None


def end_process_group() -> None:
    """Kill this process and its loaders at once: checkpoints are saved, and nobody is left to report to."""
    if os.getpgid(0) == os.getpid():  # not if started by hand: the group is then the shell's
        os.killpg(0, signal.SIGKILL)
    os._exit(ABANDONED)
