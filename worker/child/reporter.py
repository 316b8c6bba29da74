"""JSON lines from a child to its supervisor on the child's stdout, which nothing else can print to."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from typing import Any, Self

from masktune.contract.vocabulary import Stage

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

    def hello(self, *, device: str, threads: int) -> None:
        self._write("hello", pid=os.getpid(), device=device, threads=threads)

    def stage_started(self, stage: Stage) -> None:
        self._write("stage_started", stage=stage)

    def progress(self, progress: Mapping[str, Any]) -> None:
        self._write("progress", **progress)

    def stage_finished(self, stage: Stage, result: Mapping[str, Any]) -> None:
        self._write("stage_finished", stage=stage, result=result)

    def log(self, message: str) -> None:
        self._write("log", message=message)

    def alive(self) -> None:
        """Send a sign of life if nothing was sent for a second. Loops call this at every step."""
        if time.monotonic() > self._last_write_at + _ALIVE_SECONDS:
            self._write("alive")

    def failed(self, error: Mapping[str, Any], *, retry: bool) -> None:
        self._write("failed", error=error, retry=retry)

    def done(self) -> None:
        self._write("done")

    def _write(self, type: str, **content: Any) -> None:
        # JSON has no NaN or infinity; a report must not be lost because of one.
        data = json.dumps({"type": type} | finite(content), allow_nan=False).encode() + b"\n"
        with self._one_at_a_time:
            while data:
                data = data[os.write(self.descriptor, data) :]
            self._last_write_at = time.monotonic()


def finite(value: Any) -> Any:
    """The same plain value with None in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
