"""The slots of a worker: each claims the best queued job and runs it; when there is none, it helps running
jobs with their passes over images, or waits.

The database is the truth about queue and passes. A message of the broker ends the wait at once; should it be
lost, the slot looks at the tables when the wait is over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from core import logs
from core.queries import leases
from core.queries.leases import Lease
from core.settings import Settings
from core.slots import ALL_KINDS, IMPORTS, kinds_of_worker_slots
from core.tables import JobRow
from masktune.contract.vocabulary import JobKind
from worker.passes.helper import PassHelper
from worker.runtime import Runtime
from worker.supervisor.db_errors import Transient, transient_errors
from worker.supervisor.spare_child import SpareChild
from worker.supervisor.supervisor import Supervisor

logger = logging.getLogger(__name__)

_PASS_SECONDS = 0.2
"""Between two looks of a slot whose child waits for the next pass of its job."""


@dataclass(frozen=True)
class Slot:
    """A place for one running job."""

    name: str
    number: int = 0
    """Which of the host's GPUs its jobs use; an import uses none."""
    kinds: frozenset[JobKind] = ALL_KINDS
    """The kinds of jobs that it runs."""


def slots_of(settings: Settings) -> list[Slot]:
    """The slots of a worker: for its jobs and, beside them, for its imports."""
    kinds = kinds_of_worker_slots(settings.import_slots)
    return [
        *(Slot(f"slot {number}", number, kinds) for number in range(settings.worker_slots)),
        *(Slot(f"import slot {number}", kinds=IMPORTS) for number in range(settings.import_slots)),
    ]


@contextmanager
def running_slots(runtime: Runtime, *, wait: float) -> Iterator[None]:
    """Run jobs on a thread per slot while the block runs; then stop, which gives running jobs back.

    `wait`: seconds between two looks of an idle slot at the table.
    """
    threads = [
        threading.Thread(target=_serve, args=(runtime, slot, wait), name=slot.name, daemon=True)
        for slot in slots_of(runtime.settings)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        runtime.stopping.set()
        runtime.wakeup.call()
        for thread in threads:
            thread.join()


def _serve(runtime: Runtime, slot: Slot, wait: float) -> None:
    """Run jobs until the worker stops."""
    spare = SpareChild(runtime, enabled=runtime.settings.spare_children and slot.kinds != IMPORTS)
    helper = PassHelper(runtime, slot.number, spare)
    while not runtime.stopping.is_set():
        calls = runtime.wakeup.calls
        try:
            work(runtime, slot, helper)
            spare.start()
        except Exception:  # a slot that ended would silently be missing for ever
            logger.exception("%s failed; it goes on", slot.name)
            runtime.stopping.wait(runtime.settings.sweep_seconds)
        runtime.wakeup.wait(calls, wait)
    spare.end()


def work(runtime: Runtime, slot: Slot = Slot("slot 0"), helper: PassHelper | None = None) -> None:
    """Run queued jobs on this thread, best first, or else compute shards of running jobs, until none is left
    or the worker is stopping."""
    helper = helper or PassHelper(runtime, slot.number, SpareChild(runtime, enabled=False))
    with closing(helper):
        while not runtime.stopping.is_set():
            calls, claimed_at = runtime.wakeup.calls, time.monotonic()
            row = _claim(runtime, slot.kinds)
            if row is not None:
                helper.close()  # its child has the device
                _run(runtime, slot, row, claimed_at, helper.spare)
                continue
            if helper.compute_shard(slot.kinds):
                continue
            if not helper.patience:
                return
            runtime.wakeup.wait(calls, min(_PASS_SECONDS, helper.patience))


def _run(runtime: Runtime, slot: Slot, row: JobRow, claimed_at: float, spare: SpareChild) -> None:
    with logs.bind(job_id=row.id, request_id=row.request_id), runtime.tracing.attempt(row) as attempt:
        logger.info("job %s (%s): attempt %d", row.id, row.kind, row.attempt)
        lease = Lease(row.id, row.token)
        Supervisor(runtime, lease, slot=slot.number, claimed_at=claimed_at, trace=attempt, spare=spare).run()


def _claim(runtime: Runtime, kinds: Collection[JobKind]) -> JobRow | None:
    """Claim the best queued job of these kinds; None if there is none or, after a pause, if the database does
    not answer."""
    settings = runtime.settings
    try:
        with transient_errors(), runtime.database.begin() as session:
            return leases.claim(
                session, worker=runtime.name, lease_seconds=settings.lease_seconds, kinds=kinds
            )
    except Transient as error:
        logger.warning("no job could be claimed (%s); retrying", error)
        runtime.stopping.wait(settings.sweep_seconds)
        return None
