"""Who is next and who waits, on SQLite and on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from core.queries import jobs, leases
from core.session import Database
from core.slots import ALL_KINDS, IMPORTS, kinds_of_worker_slots, kinds_queued_with
from core.tables import JobRow
from masktune.contract.vocabulary import JobKind, JobState
from tests.integration.core import queue
from tests.integration.core.plans import copy_row, record_plans
from tests.integration.core.queue import MINUTE


def _claim(database: Database) -> str | None:
    with database.begin() as session:
        return _claimed(session)


def _claimed(session: Session) -> str | None:
    row = leases.claim(session, worker="w", lease_seconds=MINUTE)
    return None if row is None else row.id


def test_the_urgent_come_first_then_the_old_then_the_lesser_id(database: Database) -> None:
    now = time.time()
    young, old = queue.add(database, created_at=now), queue.add(database, created_at=now - 9)
    twins = sorted(queue.add(database, created_at=now - 5) for _ in range(2))
    urgent, later = queue.add(database, priority=2), queue.add(database, priority=1)
    queue.add(database, priority=9, not_before=now + MINUTE)
    claimed = [_claim(database) for _ in range(7)]
    assert claimed == [urgent, later, old, *twins, young, None]


def test_a_slot_claims_only_the_kinds_that_it_runs(database: Database) -> None:
    training, importing = queue.add(database, priority=9), queue.add(database, kind=JobKind.IMPORT)
    with database.begin() as session:
        for kinds, claimed in ((IMPORTS, importing), (IMPORTS, None), (kinds_of_worker_slots(1), training)):
            row = leases.claim(session, worker="w", lease_seconds=MINUTE, kinds=kinds)
            assert (None if row is None else row.id) == claimed


def test_a_slot_for_imports_does_not_read_the_queued_trainings(database: Database) -> None:
    """Among 100,000 of them a look took 25 ms, five times a second."""
    queue.add(database)
    copy_row(database, "jobs")
    plans = record_plans(database)
    with database.begin() as session:
        assert leases.claim(session, worker="w", lease_seconds=MINUTE, kinds=IMPORTS) is None
    assert len(plans) == 1
    of_queued_imports = ("jobs_next_import", "jobs_kind (kind=? AND state=?)")  # SQLite takes the second
    assert any(index in plans[0] for index in of_queued_imports), plans


def test_a_claim_passes_over_the_jobs_that_wait_for_an_import_without_reading_them(
    database: Database,
) -> None:
    queue.add(database, kind=JobKind.PREDICT)
    copy_row(database, "jobs")
    with database.begin() as session:
        session.execute(update(JobRow).values(not_before=None, priority=9))
    training = queue.add(database)
    with database.begin() as session:
        session.execute(text("ANALYZE jobs"))
        assert jobs.oldest_queued_seconds(session) < MINUTE
    plans = record_plans(database)
    assert _claim(database) == training
    indexes = ("jobs_next ", "jobs_kind (kind=? AND state=?)")  # SQLite with statistics takes the second
    assert any(index in plans[0] for index in indexes), plans
    assert _claim(database) is None


def test_a_job_that_waits_for_an_import_is_before_no_other(database: Database) -> None:
    waiting, training = queue.add(database, kind=JobKind.PREDICT, priority=9), queue.add(database)
    with database.begin() as session:
        jobs.get(session, waiting).not_before = None
    with database.read() as session:
        waits = [jobs.wait(session, jobs.get(session, job), ALL_KINDS) for job in (waiting, training)]
    assert [(each.position, each.since is None) for each in waits if each] == [(1, True), (1, False)]


@pytest.mark.parametrize("kind", [JobKind.IMPORT, JobKind.ERM])
def test_a_job_waits_for_those_that_take_its_slots(kind: JobKind, database: Database) -> None:
    for other in (JobKind.ERM, JobKind.MASK, JobKind.IMPORT):
        queue.add(database, kind=other)
    assert _claim(database) is not None  # the training
    with database.begin() as session:
        assert leases.claim(session, worker="w", lease_seconds=MINUTE, kinds=IMPORTS) is not None
    job_id = queue.add(database, kind=kind)
    with database.read() as session:
        row = jobs.get(session, job_id)
        alone = jobs.wait(session, row, kinds_queued_with(kind, 1))
        shared = jobs.wait(session, row, kinds_queued_with(kind, 0))
    assert alone is not None
    assert shared is not None
    assert (alone.position - 1, alone.running, alone.imports_alone) == (
        (0, 1, True) if kind is JobKind.IMPORT else (1, 1, False)
    )
    assert (shared.position - 1, shared.running, shared.imports_alone) == (1, 2, False)


def test_a_silent_worker_runs_nothing_and_a_running_job_waits_for_nothing(database: Database) -> None:
    queue.add(database, priority=1)
    with database.begin() as session:
        claimed = leases.claim(session, worker="w", lease_seconds=-1)
        assert claimed is not None
    job_id = queue.add(database)
    with database.read() as session:
        waiting = jobs.wait(session, jobs.get(session, job_id), ALL_KINDS)
        assert waiting is not None
        assert waiting.running == 0
        assert jobs.wait(session, jobs.get(session, claimed.id), ALL_KINDS) is None


def test_jobs_are_counted_by_their_state(database: Database) -> None:
    *_, last = [queue.add(database) for _ in range(4)]
    assert _claim(database) is not None
    with database.begin() as session:
        jobs.cancel(session, last)
        assert jobs.counts(session) == {JobState.QUEUED: 2, JobState.RUNNING: 1, JobState.CANCELLED: 1}


def test_a_data_set_is_used_by_its_own_jobs_that_have_not_ended(database: Database) -> None:
    running, ended = (queue.add(database, dataset_id="ds_1", priority=n) for n in (2, 1))
    waiting, other = queue.add(database, dataset_id="ds_1"), queue.add(database, dataset_id="ds_2")
    judging = queue.add(database, inputs={"trained_on": ["ds_4", "ds_5"]})
    assert _claim(database) == running
    with database.begin() as session:
        jobs.cancel(session, ended)
        assert jobs.using_dataset(session, "ds_5") == [judging]
        assert jobs.using_dataset(session, "ds_") == []
        assert sorted(jobs.using_dataset(session, "ds_1")) == sorted([running, waiting])
        assert jobs.using_dataset(session, "ds_2") == [other]
        assert jobs.using_dataset(session, "ds_3") == []


def test_the_active_jobs_of_a_caller_are_its_own(database: Database) -> None:
    first, *_ = [queue.add(database, created_by=caller) for caller in ("key_1", "key_1", "key_2", None)]
    with database.begin() as session:
        jobs.cancel(session, first)
        assert [jobs.active_of(session, caller) for caller in ("key_1", "key_2", "key_3")] == [1, 1, 0]


def test_a_list_holds_one_state_one_data_set_and_one_kind(database: Database) -> None:
    running = queue.add(database, dataset_id="ds_1")
    assert _claim(database) == running
    waiting = queue.add(database, dataset_id="ds_2")
    expected = {None: [waiting, running], JobState.RUNNING: [running], JobState.QUEUED: [waiting]}
    with database.read() as session:
        for state in (None, *JobState):
            page = jobs.listing(session, before=None, limit=9, state=state)
            assert [job.id for job in page] == expected.get(state, [])
            page = jobs.listing(session, before=None, limit=9, dataset_id="ds_1", state=state)
            assert [job.id for job in page] == ([running] if state in (None, JobState.RUNNING) else [])
        assert jobs.listing(session, before=None, limit=9, kind=JobKind.MASK) == []


@contextmanager
def impatient(database: Database) -> Iterator[Session]:
    """A transaction that fails where it has to wait for another one."""
    with database.begin() as session:
        session.execute(text("SET LOCAL lock_timeout = '100ms'"))
        yield session


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_claims_while_another_does_goes_past_its_job_and_waits_for_nobody(database: Database) -> None:
    """SQLite has one writer at a time."""
    first, second = queue.add(database, priority=2), queue.add(database)
    with database.begin() as one:
        assert _claimed(one) == first
        with impatient(database) as other:
            assert _claimed(other) == second
        with impatient(database) as third:
            assert _claimed(third) is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_sweep_goes_past_what_another_settles_and_counts_a_lost_worker_once(database: Database) -> None:
    lost = [queue.add(database) for _ in range(2)]
    with database.begin() as session:
        leases.claim(session, worker="w", lease_seconds=-1)
    with database.begin() as one:
        assert len(_swept(one)) == 1
        with impatient(database) as session:
            leases.claim(session, worker="w", lease_seconds=-1)
        with impatient(database) as other:
            assert len(_swept(other)) == 1
    with database.read() as session:
        rows = [jobs.get(session, job) for job in lost]
    assert [(row.state, row.losses, row.attempt) for row in rows] == [(JobState.QUEUED, 1, 1)] * 2


def _swept(session: Session) -> list[str]:
    return leases.requeue_expired(session, max_attempts=5, too_many={})
