"""The supervisor against scripted children: every way a child can behave."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text, update

from core.queries import jobs
from core.session import Database
from core.storage.artifacts import Artifacts
from core.storage.maintenance import run_maintenance
from core.tables import JobRow, TrashRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import EventType, JobState, Stage
from tests.integration.worker.conftest import TESTED_BY, AddJob, EventsOf, JobOf, Working, with_settings
from tests.support.stage_results import stage_result
from tests.support.stubborn_store import StubbornStore
from tests.support.waits import wait_until
from worker.child_process import MARK
from worker.protocol import ProgressReport
from worker.results import result_to_json
from worker.runtime import Runtime
from worker.slots import work
from worker.supervisor.sweeper import sweep_once


def finished(stage: str, **result: Any) -> tuple[str, dict[str, Any]]:
    return "say", {"type": "stage_finished", "result": result_to_json(stage_result(stage, **result))}


def started(stage: str) -> tuple[str, dict[str, Any]]:
    return "say", {"type": "stage_started", "stage": stage}


def progress(fraction: float, *, advanced: bool = False) -> tuple[str, dict[str, Any]]:
    report = ProgressReport(
        fraction=fraction,
        stage=Stage.ERM,
        stage_fraction=fraction,
        epoch=0,
        epochs=1,
        step=0,
        steps=1,
        images_per_second=None,
        eta_seconds=None,
        metrics={},
        advanced=advanced,
    )
    return "say", asdict(report)


DONE = ("say", {"type": "done"})
WATCH = ("watch", None)
TRAINED = [
    started("erm"),
    progress(0.5, advanced=True),
    finished("erm"),
    finished("infer_groups"),
    finished("calibrate"),
    finished("evaluate"),
    DONE,
]


def processes_of_children() -> list[int]:
    """Every process with the mark of a child of these tests, those that left the session included."""
    ours = "=".join(TESTED_BY).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if ours in environment and any(one.startswith(f"{MARK}=".encode()) for one in environment):
                found.append(int(entry.name))
    return found


def test_a_job_that_succeeds_records_its_events(
    runtime: Runtime, add_job: AddJob, job_of: JobOf, events_of: EventsOf
) -> None:
    job_id = add_job([WATCH, *TRAINED])
    work(runtime)
    job = job_of(job_id)
    assert job.state is JobState.SUCCEEDED
    assert set(job.done) == {"erm", "infer_groups", "calibrate", "evaluate"}
    assert job.progress["fraction"] == 0.5
    assert set(job.times) == {"queued", "running", "succeeded"}
    told = [(e.type, e.data.get("state") or e.data.get("status")) for e in events_of(job_id)]
    assert told[0] == (EventType.STATE, "queued")
    assert (EventType.STAGE, "started") in told
    assert told[-1] == (EventType.STATE, "succeeded")
    assert [e.seq for e in events_of(job_id)] == list(range(1, len(told) + 1))


def test_a_report_that_cannot_be_written_fails_the_job_at_once(
    runtime: Runtime, database: Database, add_job: AddJob, job_of: JobOf
) -> None:
    """Not an outage: no later attempt would do better, and nobody should wait for the lease."""
    unwritable = finished("evaluate", metrics={"erm": {}})  # of a model that was not compared
    job_id = add_job([started("evaluate"), unwritable, ("sleep", 60)])
    work(runtime)
    job = job_of(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["reason"] == "not_recorded"
    assert "KeyError" in job.error["detail"]
    assert job.attempt == 1
    assert job.done == {}, "what could not be written whole is not written at all"
    assert processes_of_children() == []


def test_the_work_of_a_job_that_has_succeeded_goes_even_if_its_worker_cannot_delete_it(
    runtime: Runtime, add_job: AddJob, job_of: JobOf, database: Database, stubborn: type[StubbornStore]
) -> None:
    remote = with_settings(runtime, storage_url=f"stubborn://{new_id('job')}")
    settings = remote.settings
    store = Artifacts(settings.storage, cache=settings.scratch / "cache")
    job_id = add_job(TRAINED)
    with store.writing(f"jobs/{job_id}/work/0") as folder:
        (folder / "state.json").touch()
    stubborn.stuck = True
    work(replace(remote, artifacts=store))
    assert job_of(job_id).state is JobState.SUCCEEDED
    stubborn.stuck = False
    with database.begin() as session:
        session.execute(update(TrashRow).values(at=0.0))
    run_maintenance(database, settings)
    assert store.fs.find(store.root) == []


def test_a_child_that_says_failed_fails_the_job(runtime: Runtime, add_job: AddJob, job_of: JobOf) -> None:
    error = {"type": "/problems/job-failed", "reason": "diverged", "detail": "use a lower learning_rate"}
    job_id = add_job([started("erm"), ("say", {"type": "failed", "error": error, "retry": False})])
    work(runtime)
    job = job_of(job_id)
    assert (job.state, job.error, job.attempt) == (JobState.FAILED, error, 1)


def test_a_crashing_job_fails_after_its_bound_and_says_how(
    runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    job_id = add_job([started("erm"), ("signal", signal.SIGKILL)])
    work(runtime)
    job = job_of(job_id)
    assert (job.state, job.attempt, job.crashes) == (JobState.FAILED, 3, 2)
    assert job.error is not None
    assert job.error["reason"] == "child_crashed"
    assert "SIGKILL" in job.error["detail"]
    assert "memory" in job.error["detail"]


def test_a_child_that_could_not_be_started_once_is_started_again(
    runtime: Runtime, add_job: AddJob, job_of: JobOf, tmp_path: Path
) -> None:
    job_id = add_job(TRAINED)
    missing = (str(tmp_path / "python"), *runtime.child[1:])
    work(replace(with_settings(runtime, retry_backoff_seconds=60.0), child=missing))
    job = job_of(job_id)
    assert (job.state, job.attempt, job.crashes, job.error) == (JobState.QUEUED, 1, 1, None)
    with runtime.database.begin() as session:
        session.execute(update(JobRow).values(not_before=0.0))
    work(runtime)
    assert (job_of(job_id).state, job_of(job_id).attempt) == (JobState.SUCCEEDED, 2)


def test_a_job_whose_child_never_starts_fails_after_its_bound_and_says_why(
    runtime: Runtime, add_job: AddJob, job_of: JobOf, tmp_path: Path
) -> None:
    job_id = add_job(TRAINED)
    work(replace(runtime, child=(str(tmp_path / "python"),)))
    job = job_of(job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 3)
    assert job.error is not None
    assert job.error["reason"] == "child_not_started"
    assert "ENOENT" in job.error["detail"]


def test_a_retried_failure_goes_back_to_the_queue(runtime: Runtime, add_job: AddJob, job_of: JobOf) -> None:
    again: list[tuple[str, Any]] = [("say", {"type": "failed", "error": {"detail": "later"}, "retry": True})]
    job_id = add_job(TRAINED, attempt_1=again)
    work(runtime)
    job = job_of(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)


def test_cancel_ends_the_whole_tree_before_it_is_told(
    add_job: AddJob, job_of: JobOf, database: Database, working: Working
) -> None:
    job_id = add_job([("ignore_sigterm", None), ("spawn_stray", None), started("erm"), ("sleep", 600)])
    working()
    wait_until(lambda: job_of(job_id).stage is not None)
    assert processes_of_children()
    with database.begin() as session:
        jobs.cancel(session, job_id)
    wait_until(lambda: job_of(job_id).state is JobState.CANCELLED)
    assert processes_of_children() == []


def test_a_job_that_is_cancelled_and_then_crashes_ends_cancelled(
    add_job: AddJob, job_of: JobOf, database: Database, runtime: Runtime, working: Working, tmp_path: Path
) -> None:
    job_id = add_job([started("erm"), ("await", "cancelled"), ("exit", 1)])
    thread = working(with_settings(runtime, control_seconds=60.0))
    wait_until(lambda: job_of(job_id).stage is not None)
    with database.begin() as session:
        jobs.cancel(session, job_id)
    (tmp_path / "cancelled").touch()
    thread.join(60)
    assert job_of(job_id).state is JobState.CANCELLED


def test_a_lost_lease_ends_the_child_and_writes_nothing(
    add_job: AddJob, job_of: JobOf, database: Database, working: Working, runtime: Runtime
) -> None:
    job_id = add_job([WATCH, started("erm"), ("sleep", 600)], attempt_2=[("sleep", 0.2), *TRAINED])
    thread = working()
    wait_until(lambda: job_of(job_id).stage is not None)
    with database.begin() as session:  # what the sweep and another worker's claim do
        session.execute(update(JobRow).where(JobRow.id == job_id).values(token=JobRow.token + 1))
    thread.join(60)
    job = job_of(job_id)
    assert (job.state, job.token, job.done) == (JobState.RUNNING, 2, {})
    assert processes_of_children() == []


def test_noise_on_stdout_is_no_message_and_a_nul_ends_no_job(
    runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    noise = ("a library says hello", '["not", "an", "object"]', r'{"type": "log", "message": "a\u0000b"}')
    job_id = add_job([*(("raw", line) for line in noise), *TRAINED])
    work(runtime)
    assert job_of(job_id).state is JobState.SUCCEEDED


def test_a_job_killed_between_its_last_stage_and_its_end_just_ends(
    runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    job_id = add_job([("exit", 1)], attempt_1=[*TRAINED[:-1], ("signal", signal.SIGKILL)])
    work(runtime)
    job = job_of(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)


@contextmanager
def altered(database_url: str, name: str, value: str, before: str) -> Iterator[None]:
    """A PostgreSQL database with another option, which ends every connection that it has."""
    address, database = database_url.rsplit("/", 1)
    admin = create_engine(f"{address}/postgres", isolation_level="AUTOCOMMIT")
    ended = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :database")
    with admin.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {database} {name} {value}"))
        connection.execute(ended, {"database": database})
        try:
            yield
        finally:
            connection.execute(text(f"ALTER DATABASE {database} {name} {before}"))
    admin.dispose()


def away(database_url: str) -> AbstractContextManager[None]:
    """It takes no connection."""
    return altered(database_url, "ALLOW_CONNECTIONS", "false", "true")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_child_goes_on_while_the_database_is_away(
    database_url: str, runtime: Runtime, add_job: AddJob, job_of: JobOf, working: Working, tmp_path: Path
) -> None:
    job_id = add_job([started("erm"), ("await", "away"), *TRAINED[1:]])
    thread = working(with_settings(runtime, lease_seconds=60.0))
    wait_until(lambda: job_of(job_id).stage is not None)
    with away(database_url):
        (tmp_path / "away").touch()
        wait_until(lambda: processes_of_children() == [])  # it has finished
    thread.join(60)
    job = job_of(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert set(job.done) == {"erm", "infer_groups", "calibrate", "evaluate"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_is_away_beyond_the_lease_ends_the_child(
    database_url: str, runtime: Runtime, add_job: AddJob, job_of: JobOf, working: Working
) -> None:
    job_id = add_job([WATCH, started("erm"), ("sleep", 600)], attempt_2=TRAINED)
    thread = working(with_settings(runtime, lease_seconds=1.0))
    wait_until(lambda: job_of(job_id).stage is not None)
    with away(database_url):
        wait_until(lambda: processes_of_children() == [])
    thread.join(60)
    assert job_of(job_id).state is JobState.RUNNING  # nobody could write otherwise

    def is_queued() -> bool:
        sweep_once(runtime)
        return job_of(job_id).state is JobState.QUEUED

    wait_until(is_queued)  # the child ends before the lease does
    work(runtime)
    job = job_of(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
