"""The slots of a worker: each claims the best queued job, runs it, and waits when there is none.

The database is the truth about the queue. A message of the broker ends the wait at once; should it be lost,
the slot looks at the table when the wait is over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from core import logs
from core.queries import leases
from core.queries.leases import Lease
from core.tables import JobRow
from worker.runtime import Runtime
from worker.supervisor.db_errors import Transient, transient_errors
from worker.supervisor.supervisor import Supervisor

logger = logging.getLogger(__name__)


@contextmanager
def running_slots(runtime: Runtime, *, wait: float) -> Iterator[None]:
    """Run jobs on `worker_slots` threads while the block runs; then stop, which gives running jobs back.

    `wait`: seconds between two looks of an idle slot at the table.
    """
    threads = [
        threading.Thread(target=_serve, args=(runtime, slot, wait), name=f"slot-{slot}", daemon=True)
        for slot in range(runtime.settings.worker_slots)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        runtime.stopping.set()
        runtime.wakeup.set()
        for thread in threads:
            thread.join()


def _serve(runtime: Runtime, slot: int, wait: float) -> None:
    """Run jobs until the worker stops."""
    while not runtime.stopping.is_set():
        try:
            work(runtime, slot)
        except Exception:  # a slot that ended would silently be missing for ever
            logger.exception("slot %d failed; it goes on", slot)
            runtime.stopping.wait(runtime.settings.sweep_seconds)
        runtime.wakeup.wait(wait)


def work(runtime: Runtime, slot: int = 0) -> None:
    """Run queued jobs on this thread, best first, until none is left or the worker is stopping."""
    while not runtime.stopping.is_set():
        runtime.wakeup.clear()  # before the look: a job that is announced after it sets the event again
        claimed_at = time.monotonic()
        row = _claim(runtime)
        if row is None:
            return
        with logs.bind(job_id=row.id, request_id=row.request_id), runtime.tracing.attempt(row) as attempt:
            logger.info("job %s (%s): attempt %d", row.id, row.kind, row.attempt)
            lease = Lease(row.id, row.token)
            Supervisor(runtime, lease, slot=slot, claimed_at=claimed_at, trace=attempt).run()


def _claim(runtime: Runtime) -> JobRow | None:
    """Claim the best queued job; None if there is none or, after a pause, if the database does not answer."""
    settings = runtime.settings
    try:
        with transient_errors(), runtime.database.begin() as session:
            return leases.claim(session, worker=runtime.name, lease_seconds=settings.lease_seconds)
    except Transient as error:
        logger.warning("no job could be claimed (%s); retrying", error)
        runtime.stopping.wait(settings.sweep_seconds)
        return None
