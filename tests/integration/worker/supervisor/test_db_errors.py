"""PostgreSQL goes on without a worker that stopped, or turns read-only: the job waits, and goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event

from core.queries import leases
from core.session import Database
from masktune.contract.vocabulary import JobState
from tests.integration.worker.conftest import AddJob, JobOf, Working, with_settings
from tests.integration.worker.supervisor.test_supervisor import altered, finished, processes_of_children
from tests.support.waits import wait_until
from worker.runtime import Runtime
from worker.slots import work
from worker.supervisor.supervisor import Supervisor
from worker.supervisor.sweeper import sweep_once

pytestmark = [pytest.mark.faults, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]


Script = list[tuple[str, Any]]
STAGES = ("erm", "infer_groups", "calibrate", "evaluate")
TRAINED: Script = [*map(finished, STAGES), ("say", {"type": "done"})]


@contextmanager
def stopped_within(database: Database, statement: str) -> Iterator[list[str]]:
    """Behind the first such statement this process stops for longer than the server lets a transaction idle.

    Yields what was stopped behind.
    """
    stopped: list[str] = []

    def stop(connection: Connection, cursor: Any, said: str, *_: Any) -> None:
        if statement in said and not stopped:
            stopped.append(said)
            cursor.execute("SET idle_in_transaction_session_timeout = '50ms'")
            time.sleep(0.5)

    event.listen(database.engine, "after_cursor_execute", stop)
    try:
        yield stopped
    finally:
        event.remove(database.engine, "after_cursor_execute", stop)


def read_only(database_url: str) -> AbstractContextManager[None]:
    """As after a failover: what was connected is not any more, and what answers takes no writes.

    Behind the block new connections lead to a server that does; those that were made stay as they are.
    """
    return altered(database_url, "SET default_transaction_read_only =", "on", "default")


def claimed(runtime: Runtime) -> Supervisor:
    """The supervisor of the job that waits."""
    claimed_at = time.monotonic()
    with runtime.database.begin() as session:
        row = leases.claim(session, worker="w", lease_seconds=runtime.settings.lease_seconds)
        assert row is not None
    return Supervisor(runtime, leases.Lease(row.id, row.token), slot=0, claimed_at=claimed_at)


@pytest.mark.parametrize("inside", ["lease_until=", "INSERT INTO events", "SET state="])
def test_a_worker_that_stops_inside_a_transaction_fails_no_job(
    runtime: Runtime, add_job: AddJob, job_of: JobOf, inside: str
) -> None:
    """While it renews the lease, records a stage, ends the job."""
    job_id = add_job([("sleep", 0.3), *TRAINED])
    supervisor = claimed(runtime)
    with stopped_within(runtime.database, inside) as stopped:
        supervisor.run()
    assert len(stopped) == 1
    job = job_of(job_id)
    assert (job.state, job.error, job.attempt) == (JobState.SUCCEEDED, None, 1)


@pytest.mark.parametrize("doing", [work, sweep_once])
def test_a_worker_that_stops_while_it_claims_or_sweeps_goes_on(
    runtime: Runtime, add_job: AddJob, job_of: JobOf, doing: Callable[[Runtime], None]
) -> None:
    job_id = add_job(TRAINED)
    with stopped_within(runtime.database, "FOR UPDATE") as stopped:
        doing(runtime)
    assert len(stopped) == 1
    work(runtime)
    assert job_of(job_id).state is JobState.SUCCEEDED


def test_a_failover_to_a_server_that_takes_no_writes_yet_fails_no_job(
    database_url: str, runtime: Runtime, add_job: AddJob, job_of: JobOf, working: Working
) -> None:
    """The connections that led to it are given up, or they would find it read-only for ever."""
    job_id = add_job([("say", {"type": "stage_started", "stage": "erm"}), ("sleep", 1.0), *TRAINED])
    thread = working(with_settings(runtime, lease_seconds=60.0))
    wait_until(lambda: job_of(job_id).stage is not None)
    with read_only(database_url):
        wait_until(lambda: processes_of_children() == [])  # it has finished
    thread.join(60)
    job = job_of(job_id)
    assert (job.state, job.error, job.attempt) == (JobState.SUCCEEDED, None, 1)
