"""A child that hangs without ending is given up; one that is slow, or that nobody hears, is not."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event

from core.queries import jobs
from core.session import Database
from masktune.contract.vocabulary import EventType, JobState
from tests.integration.worker.conftest import AddJob, EventsOf, JobOf, Working, with_settings
from tests.integration.worker.supervisor.test_supervisor import (
    DONE,
    TRAINED,
    WATCH,
    processes_of_children,
    started,
)
from tests.support.waits import wait_until
from worker.runtime import Runtime
from worker.slots import work

pytestmark = pytest.mark.faults

Script = list[tuple[str, Any]]

STOPPED: Script = [started("erm"), ("spawn_stray", None), ("signal", signal.SIGSTOP)]
"""Of a child that is there and does nothing any more: as in a driver that does not come back."""


LONGEST_START = 4.0
"""Seconds of silence after which a child counts as hanging; it starts in less, on a busy machine too."""


def patient(runtime: Runtime, seconds: float = LONGEST_START) -> Runtime:
    """The runtime with another bound for silent children."""
    return with_settings(runtime, child_silent_seconds=seconds)


def test_a_child_that_hangs_is_ended_with_all_that_it_started_and_its_job_goes_on(
    runtime: Runtime, add_job: AddJob, job_of: JobOf, events_of: EventsOf
) -> None:
    job_id = add_job(TRAINED, attempt_1=STOPPED)
    work(patient(runtime))
    job = job_of(job_id)
    assert (job.state, job.attempt, job.error) == (JobState.SUCCEEDED, 2, None)
    assert processes_of_children() == []
    reasons = [e.data.get("reason") for e in events_of(job_id) if e.type == EventType.STATE]
    assert "no sign of life for 4 s" in str(reasons)


def test_a_job_whose_child_hangs_again_and_again_fails_and_says_so(
    runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    job_id = add_job(STOPPED)
    work(patient(runtime, 0.5))
    job = job_of(job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 3)
    assert job.error is not None
    assert job.error["reason"] == "child_crashed"
    assert all(words in job.error["detail"] for words in ("no sign of life for 0.5 s", "3 times", "resume"))
    assert processes_of_children() == []


def test_a_child_that_is_slow_but_gives_signs_of_life_is_left_alone(
    runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    alive: Script = [("say", {"type": "alive"}), ("sleep", 0.2)]
    job_id = add_job([started("erm"), *alive * 25, *TRAINED[1:]])
    work(patient(runtime))
    job = job_of(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)


def test_no_bound_is_no_bound(runtime: Runtime, add_job: AddJob, job_of: JobOf) -> None:
    job_id = add_job([started("erm"), ("sleep", 1.0), *TRAINED[1:]])
    work(patient(runtime, 0.0))
    assert job_of(job_id).attempt == 1


def test_a_child_that_has_done_its_work_and_hangs_at_its_end_has_succeeded(
    runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    job_id = add_job([*TRAINED[:-1], DONE, ("signal", signal.SIGSTOP)])
    work(patient(runtime))
    assert (job_of(job_id).state, job_of(job_id).attempt) == (JobState.SUCCEEDED, 1)


def test_a_cancelled_job_whose_child_hangs_ends_cancelled(
    runtime: Runtime, add_job: AddJob, job_of: JobOf, database: Database, working: Working
) -> None:
    """Also where nobody has looked for the cancel before the child is given up."""
    job_id = add_job(STOPPED)
    thread = working(with_settings(patient(runtime), control_seconds=60.0))
    wait_until(lambda: job_of(job_id).stage is not None)
    with database.begin() as session:
        jobs.cancel(session, job_id)
    thread.join(60)
    assert job_of(job_id).state is JobState.CANCELLED


@contextmanager
def stopped_at_first(database: Database, statement: str, done: threading.Event) -> Iterator[threading.Event]:
    """Who first says such a statement stops there until `done`, as a process that is stopped; yields when."""
    stopped = threading.Event()

    def stop(connection: Connection, cursor: Any, said: str, *_: Any) -> None:
        if statement in said and not stopped.is_set():
            stopped.set()
            done.wait(120)

    event.listen(database.engine, "before_cursor_execute", stop)
    try:
        yield stopped
    finally:
        event.remove(database.engine, "before_cursor_execute", stop)


def test_a_child_outlives_no_lease_though_its_worker_stops_before_the_first_renewal(
    runtime: Runtime, add_job: AddJob
) -> None:
    """Nobody would have told it how long the lease lasts, and two would work at the job."""
    add_job([WATCH, ("ignore_sigterm", None), ("sleep", 600)])
    done = threading.Event()
    thread = threading.Thread(target=work, args=(runtime,))
    with stopped_at_first(runtime.database, "SET lease_until", done) as stopped:
        thread.start()
        try:
            wait_until(stopped.is_set)
            wait_until(lambda: len(processes_of_children()) == 1)
            time.sleep(runtime.settings.lease_seconds)
            wait_until(lambda: processes_of_children() == [])
        finally:
            runtime.stopping.set()
            done.set()
            thread.join(60)
