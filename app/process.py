"""What a serving process sets before anything else: how memory is kept, how threads wait."""

from __future__ import annotations

import os
import sys

from models.process import keep_freed_memory

_SWITCH_SECONDS = 0.001


def prepare_process() -> None:
    """Call it before the process has a second thread, and before it imports what starts one: numpy, pyarrow.

    Without the first, page faults take a quarter (ResNet-50) to 40 % (SmallCNN) of the CPU time. Without
    the second, which OpenMP reads once, torch's idle threads spin on the core that the event loop needs.
    The third is how long a thread waits for the interpreter while the event loop is busy: a short read of
    the database waits ten times, and with the default of 5 ms would take longer than it is good for.
    """
    keep_freed_memory()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.setswitchinterval(_SWITCH_SECONDS)
