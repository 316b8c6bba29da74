"""The sweep of a worker, on its own thread so that a worker whose slots are all busy sweeps too."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from core.storage.maintenance import Maintenance
from core.sweep import sweep
from worker.runtime import Runtime
from worker.supervisor.db_errors import Transient, transient_errors

logger = logging.getLogger(__name__)


@contextmanager
def sweeping(runtime: Runtime) -> Iterator[None]:
    """Sweep every `sweep_seconds` while the block runs, with maintenance alongside."""
    done, maintenance = threading.Event(), Maintenance(runtime.database, runtime.settings)
    thread = threading.Thread(target=_loop, args=(runtime, maintenance, done), name="sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5)
        maintenance.close(timeout=1)


def _loop(runtime: Runtime, maintenance: Maintenance, done: threading.Event) -> None:
    while not done.is_set():
        try:
            sweep_once(runtime)
            maintenance.start()
        except Exception:  # a worker that stops sweeping would lose jobs silently
            logger.exception("the sweep failed; it tries again")
        done.wait(runtime.settings.sweep_seconds)


def sweep_once(runtime: Runtime) -> None:
    """Sweep once; if the database is unreachable, leave it to the next sweep."""
    try:
        with transient_errors():
            sweep(runtime.database, runtime.settings)
    except Transient as error:
        logger.warning("the sweep could not reach the database (%s); it tries again", error)
