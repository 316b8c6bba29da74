"""JSON lines from a child to its supervisor on the child's stdout, which nothing else can print to."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Self

from worker.protocol import Alive, LogLine, Message

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
