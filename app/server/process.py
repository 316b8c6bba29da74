"""Process-wide: how freed memory is kept, how threads wait, and the end of a process that hangs."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time

from models.runtime.process import keep_freed_memory

logger = logging.getLogger(__name__)

_SWITCH_SECONDS = 0.001


def prepare_process() -> None:
    """Call this before the process starts a second thread or imports a library that does (numpy, pyarrow).

    Without the first setting, page faults take a quarter (ResNet-50) to 40 % (SmallCNN) of the CPU time.
    Without the second, which OpenMP reads once, torch's idle threads spin on the core that the event loop
    needs. The third is how long a thread waits for the interpreter while the event loop is busy: a short
    database read waits ten times, which would take too long with the default of 5 ms.
    """
    keep_freed_memory()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.setswitchinterval(_SWITCH_SECONDS)


def end_in_time(seconds: float) -> None:
    """Exit the process with status 1 after this many seconds, whatever it is waiting for.

    A thread that waits for a database, store or GPU that does not respond cannot be cancelled in any driver,
    and a process exits only with the last of its threads.
    """
    threading.Thread(target=_end, args=(seconds,), name="stop", daemon=True).start()


def _end(seconds: float) -> None:
    time.sleep(seconds)
    logger.error("the service could not stop in time: a part that it waits for does not respond")
    os._exit(1)
