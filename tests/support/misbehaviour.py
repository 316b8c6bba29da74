"""What a decoder or a reader does to its process at worst."""

from __future__ import annotations

import os
import signal


def hang() -> None:
    while True:
        pass


def swell() -> None:
    bytearray(4 << 30)  # more than the heap of a test process can have left over


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
