"""A child's stdin: the spec, then the lease's deadlines. Its end means that the supervisor is gone.

A child ends itself, with everything in its process group, when stdin ends or the deadline passes:
so neither a killed nor a stopped supervisor leaves one behind that works beyond its lease.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time

from worker.endings import ABANDONED


class Lifeline:
    """Lines from a file descriptor, without a buffer that could hold one back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._until = float("inf")

    def first_line(self) -> bytes:
        """Wait for the first line. EOFError when there is none."""
        while b"\n" not in self._rest:
            data = os.read(self._descriptor, 1 << 16)
            if not data:
                raise EOFError("stdin ended before the spec")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def watch(self) -> None:
        """From now on, end this process group when the supervisor is gone or the lease runs out."""
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def _watch(self) -> None:
        try:
            self._wait_for_the_end()
        finally:
            end_process_group()

    def _wait_for_the_end(self) -> None:
        while (left := self._deadline() - time.monotonic()) > 0:
            readable, _, _ = select.select([self._descriptor], [], [], min(left, 3600.0))
            if readable:
                data = os.read(self._descriptor, 1 << 16)
                if not data:
                    return
                self._rest += data

    def _deadline(self) -> float:
        """The newest one that has come in whole."""
        *lines, self._rest = self._rest.split(b"\n")
        if lines:
            self._until = float(json.loads(lines[-1])["until"])
        return self._until


def end_process_group() -> None:
    """End this process and its loaders at once: what matters is saved, and nobody is left to be told."""
    if os.getpgid(0) == os.getpid():  # ours; a child that was started by hand shares its shell's
        os.killpg(0, signal.SIGKILL)
    os._exit(ABANDONED)
