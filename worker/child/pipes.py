"""A child's pipes to its supervisor: JSON lines on stdout, which nothing else can print to, and what it
reads on stdin.

On stdin come the spec, then the lease's deadlines and shards. On its end-of-file, which means that the
supervisor is gone, or when the deadline passes, the child ends itself with its whole process group. So no
child works beyond its lease, whether its supervisor was killed or merely stopped.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from queue import SimpleQueue
from typing import Self

from worker.protocol import ABANDONED, Alive, LogLine, Message
from worker.shard_tasks import ShardTask

_ALIVE_SECONDS = 1.0
"""Seconds between two signs of life from a loop that calls `alive` at every step: few enough writes."""


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
        """Send a sign of life if nothing was sent for a second. Loops call this at every step."""
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


class ParentWatch:
    """Reads lines from a file descriptor, unbuffered so that no line is held back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._until = float("inf")
        self.shards = SimpleQueue[ShardTask]()
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
            if "shard" in message:
                self.shards.put(ShardTask.from_json(message["shard"]))
            else:
                self._until = float(message["until"])
        return self._until


def end_process_group() -> None:
    """Kill this process and its loaders at once: checkpoints are saved, and nobody is left to report to."""
    if os.getpgid(0) == os.getpid():  # not if started by hand: the group is then the shell's
        os.killpg(0, signal.SIGKILL)
    os._exit(ABANDONED)
