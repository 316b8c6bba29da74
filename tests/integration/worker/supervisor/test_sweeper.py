"""A worker heals the queue, whatever its store does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import update

from core.queries import leases, trash
from core.session import Database
from core.tables import JobRow, TrashRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobState
from tests.support.waits import wait_until
from worker.runtime import Runtime
from worker.supervisor.sweeper import sweeping


class HangingStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An object store that answers nothing until it may."""

    protocol = "hanging"
    asked, may_answer = threading.Event(), threading.Event()

    def exists(self, path: str, **_: object) -> bool:
        self.asked.set()
        self.may_answer.wait(60)
        return False


@pytest.fixture
def hanging() -> Iterator[type[HangingStore]]:
    fsspec.register_implementation("hanging", HangingStore, clobber=True)
    yield HangingStore
    HangingStore.may_answer.set()
    HangingStore.asked.clear()
    HangingStore.may_answer = threading.Event()


def test_a_store_that_hangs_does_not_stop_the_healing_of_lost_jobs(
    runtime: Runtime,
    database: Database,
    add_job: Callable[..., str],
    job_of: Callable[[str], JobRow],
    hanging: type[HangingStore],
) -> None:
    settings = runtime.settings.model_copy(update={"storage_url": f"hanging://{new_id('job')}"})
    with database.begin() as session:
        trash.put(session, ["models/mdl_1"])
        session.execute(update(TrashRow).values(at=0.0))
    with sweeping(Runtime(**{**vars(runtime), "settings": settings})):
        wait_until(hanging.asked.is_set)
        job_id = add_job([])
        with database.begin() as session:
            assert leases.claim(session, worker="lost", lease_seconds=0.0) is not None
        time.sleep(0.01)
        wait_until(lambda: job_of(job_id).state is JobState.QUEUED)
        hanging.may_answer.set()
