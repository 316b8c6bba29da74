"""Forces a process to exit whose threads wait for a database, store or GPU that does not respond.

Such a wait cannot be cancelled in any driver, and a process exits only with the last of its threads.
"""

from __future__ import annotations

import logging
import os
import threading
import time

logger = logging.getLogger(__name__)


def end_in_time(seconds: float) -> None:
    """Exit the process with status 1 after this many seconds, whatever it is waiting for."""
    threading.Thread(target=_end, args=(seconds,), name="stop", daemon=True).start()


def _end(seconds: float) -> None:
    time.sleep(seconds)
    logger.error("the service could not stop in time: a part that it waits for does not respond")
    os._exit(1)
