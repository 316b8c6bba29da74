"""A child's stdin: the spec, then the lease's deadlines. End-of-file means that the supervisor is gone.

On end-of-file, or when the deadline passes, the child ends itself with its whole process group. So no
child works beyond its lease, whether its supervisor was killed or merely stopped.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time

from worker.protocol import ABANDONED, read_deadline


class ParentWatch:
    """Reads lines from a file descriptor, unbuffered so that no line is held back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._until = float("inf")

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
        if lines:
            self._until = read_deadline(lines[-1])
        return self._until


def end_process_group() -> None:
    """Kill this process and its loaders at once: checkpoints are saved, and nobody is left to report to."""
    if os.getpgid(0) == os.getpid():  # not if started by hand: the group is then the shell's
        os.killpg(0, signal.SIGKILL)
    os._exit(ABANDONED)
