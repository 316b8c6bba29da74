"""Ends a process that would not end by itself: with its parent, or after a time, whatever it waits for."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


def on_parent_exit(end: Callable[[], object]) -> None:
    """Call `end` on its own thread once standard input closes, a pipe that only the parent holds open."""

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock the interpreter needs at exit
            pass
        end()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def exit_after(seconds: float, message: str, *, last: Callable[[], object] = lambda: None) -> None:
    """After this many seconds, log `message`, call `last` and exit with status 1, unless it ended before.

    A wait for a database, a store or a GPU that does not answer cannot be cancelled in any driver, and a
    process exits only with the last of its threads.
    """

    def end() -> None:
        time.sleep(seconds)
        logger.error(message)
        last()
        os._exit(1)

    threading.Thread(target=end, name="stop", daemon=True).start()
