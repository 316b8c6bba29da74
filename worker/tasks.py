"""The tasks that Celery calls. A message only says "look"; the work itself is found in the database."""

from __future__ import annotations

import logging
import time

from celery import Celery

from core import logs
from core.notifications import RUN_JOB, SWEEP
from core.queries import leases
from core.queries.leases import Lease
from core.tables import JobRow
from worker.runtime import Runtime
from worker.supervisor.db_errors import Away, asking
from worker.supervisor.supervisor import Supervisor
from worker.supervisor.sweeper import sweep_once

logger = logging.getLogger(__name__)


def register(app: Celery, runtime: Runtime) -> None:
    """Register the two tasks with the app."""

    @app.task(name=RUN_JOB)  # type: ignore[untyped-decorator]  # celery has no types
    def run_job(job_id: str) -> None:
        """Look for work. The job in the message may be claimed or ended by now, or not be the best one."""
        work(runtime)

    @app.task(name=SWEEP)  # type: ignore[untyped-decorator]  # celery has no types
    def sweep() -> None:
        sweep_once(runtime)


def work(runtime: Runtime) -> None:
    """Run queued jobs, best first, until none is left or the worker is stopping."""
    slot = runtime.slots.get()
    try:
        while not runtime.stopping.is_set():
            claimed_at = time.monotonic()
            row = _claim(runtime)
            if row is None:
                return
            with (
                logs.bound(job_id=row.id, request_id=row.request_id),
                runtime.tracing.attempt(row) as attempt,
            ):
                logger.info("job %s (%s): attempt %d", row.id, row.kind, row.attempt)
                lease = Lease(row.id, row.token)
                Supervisor(runtime, lease, slot=slot, claimed_at=claimed_at, trace=attempt).run()
    finally:
        runtime.slots.put(slot)


def _claim(runtime: Runtime) -> JobRow | None:
    settings = runtime.settings
    try:
        with asking(), runtime.database.begin() as session:
            return leases.claim(session, worker=runtime.name, lease_seconds=settings.lease_seconds)
    except Away as error:
        logger.warning("no job could be claimed (%s); the sweep will ring again", error)
        return None
