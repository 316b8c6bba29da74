"""The end of a process whose threads wait for what does not answer: a database that hangs, a store, a card.

No driver can be told to wait no longer, and a process ends with the last of its threads.
"""

from __future__ import annotations

import logging
import os
import threading
import time

logger = logging.getLogger(__name__)


def end_in_time(seconds: float) -> None:
    """See to it that this process has ended after so many seconds, whatever it waits for then."""
    threading.Thread(target=_end, args=(seconds,), name="stop", daemon=True).start()


def _end(seconds: float) -> None:
    time.sleep(seconds)
    logger.error("the service could not stop in time: a part that it waits for does not answer")
    os._exit(1)
