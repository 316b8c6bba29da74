"""A worker heals the queue, whatever its store does."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import update

from core.queries import trash
from core.session import Database
from core.tables import TrashRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobState
from tests.integration.core import queue
from tests.integration.worker.conftest import AddJob, JobOf, with_settings
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
    add_job: AddJob,
    job_of: JobOf,
    hanging: type[HangingStore],
) -> None:
    with database.begin() as session:
        trash.put(session, ["models/mdl_1"])
        session.execute(update(TrashRow).values(at=0.0))
    with sweeping(with_settings(runtime, storage_url=f"hanging://{new_id('job')}")):
        wait_until(hanging.asked.is_set)
        job_id = add_job([])
        queue.claim(database, lease_seconds=-1)
        wait_until(lambda: job_of(job_id).state is JobState.QUEUED)
        hanging.may_answer.set()
