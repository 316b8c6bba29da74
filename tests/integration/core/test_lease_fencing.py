"""Whose word counts about a job: by its lease, clause by clause, on SQLite and on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.errors import JobEnded
from core.queries import jobs, leases
from core.queries.leases import Lease, LeaseLost
from core.session import Database
from core.tables import JobRow
from masktune.contract.vocabulary import EventType, JobState, Stage
from tests.integration.core import queue
from tests.integration.core.queue import GAVE_UP, MINUTE

WRITES: dict[str, Callable[[Session, Lease], object]] = {
    "renew": lambda s, lease: leases.renew(s, lease, lease_seconds=MINUTE),
    "held": leases.held,
    "progress": lambda s, lease: leases.write_progress(s, lease, {"fraction": 1.0}, advanced=True),
    "start": lambda s, lease: leases.start_stage(s, lease, Stage.ERM),
    "finish": lambda s, lease: leases.finish_stage(s, lease, Stage.ERM, {}),
    "models": lambda s, lease: leases.set_models(s, lease, {"erm": "mdl"}),
    "metrics": lambda s, lease: leases.set_metrics(s, lease, {"accuracy": 1.0}),
    "log": lambda s, lease: leases.log(s, lease, "late"),
    "end": lambda s, lease: leases.end(s, lease, JobState.SUCCEEDED),
    "release": lambda s, lease: leases.release(s, lease, reason="late"),
}


def _refused(database: Database, lease: Lease) -> None:
    """Each write of this lease is, and changes nothing."""
    before, told = _columns(queue.job(database, lease.job_id)), queue.told(database, lease.job_id)
    for write in WRITES.values():
        with pytest.raises(LeaseLost), database.begin() as session:
            write(session, lease)
    assert _columns(queue.job(database, lease.job_id)) == before
    assert queue.told(database, lease.job_id) == told


def _columns(row: JobRow) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}


def test_a_job_that_was_given_back_and_claimed_again_has_a_new_token(database: Database) -> None:
    """It may be the same worker: what its first attempt still says is not about the second."""
    queue.add(database)
    first = queue.claim(database)
    with database.begin() as session:
        leases.release(session, first, reason="worker stopped")
    _refused(database, first)
    second = queue.claim(database)
    assert second.token > first.token
    _refused(database, first)
    for name in ("renew", "held", "start", "log", "progress", "metrics"):
        with database.begin() as session:
            WRITES[name](session, second)


def test_a_silent_worker_is_refused_from_the_sweep_on(database: Database) -> None:
    queue.add(database)
    silent = queue.claim(database, lease_seconds=-1)
    assert queue.sweep(database) == [silent.job_id]
    row = queue.job(database, silent.job_id)
    assert (row.state, row.worker, row.lease_until, row.ended_at) == (JobState.QUEUED, None, None, None)
    assert row.token > silent.token
    assert row.not_before == pytest.approx(time.time(), abs=MINUTE)
    _refused(database, silent)


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED])
def test_an_ended_job_hears_nobody(database: Database, state: JobState) -> None:
    queue.add(database)
    lease = queue.claim(database)
    with database.begin() as session:
        leases.end(session, lease, state)
    _refused(database, lease)
    assert queue.job(database, lease.job_id).lease_until is None
    with pytest.raises(JobEnded), database.begin() as session:
        jobs.cancel(session, lease.job_id)


def test_a_lease_is_of_one_job(database: Database) -> None:
    """Tokens count for each job anew: that of one is no right to write the other."""
    for _ in range(2):
        queue.add(database)
    mine, other = queue.claim(database), queue.claim(database)
    assert mine.token == other.token
    with database.begin() as session:
        leases.end(session, mine, JobState.FAILED)
        assert leases.held(session, other) is JobState.RUNNING
        with pytest.raises(LeaseLost):
            leases.held(session, mine)


def test_a_claim_says_who_and_for_how_long_and_a_renewal_for_how_much_longer(database: Database) -> None:
    queue.add(database)
    lease = queue.claim(database)
    row = queue.job(database, lease.job_id)
    assert (row.state, row.worker, row.attempt) == (JobState.RUNNING, "w", 1)
    assert row.lease_until == pytest.approx(time.time() + MINUTE, abs=MINUTE / 2)
    with database.begin() as session:
        leases.renew(session, lease, lease_seconds=10 * MINUTE)
    assert queue.job(database, lease.job_id).lease_until == pytest.approx(
        time.time() + 10 * MINUTE, abs=MINUTE
    )


def test_the_sweep_takes_what_has_run_out_and_nothing_else(database: Database) -> None:
    ended, running, cancelling, expired = (queue.add(database) for _ in range(4))
    held = {lease.job_id: lease for lease in (queue.claim(database) for _ in range(4))}
    waiting = queue.add(database, lease_until=1.0)
    with database.begin() as session:
        leases.end(session, held[ended], JobState.SUCCEEDED)
        jobs.get(session, ended).lease_until = 1.0
        jobs.cancel(session, cancelling)
        leases.renew(session, held[expired], lease_seconds=-1)
    assert queue.sweep(database) == [expired]
    states = [queue.job(database, job).state.value for job in (ended, running, cancelling, expired, waiting)]
    assert states == ["succeeded", "running", "cancelling", "queued", "queued"]


def test_progress_that_finishes_no_epoch_forgives_nothing(database: Database) -> None:
    queue.add(database, crashes=2, losses=1)
    lease = queue.claim(database)
    with database.begin() as session:
        leases.write_progress(session, lease, {"fraction": 0.1}, advanced=False)
    row = queue.job(database, lease.job_id)
    assert (row.crashes, row.losses, row.progress) == (2, 1, {"fraction": 0.1})


def test_a_job_that_succeeded_while_it_was_being_cancelled_has_succeeded(database: Database) -> None:
    queue.add(database)
    lease = queue.claim(database)
    with database.begin() as session:
        jobs.cancel(session, lease.job_id)
        assert leases.end(session, lease, JobState.SUCCEEDED) is JobState.SUCCEEDED
    assert queue.job(database, lease.job_id).state is JobState.SUCCEEDED


def test_a_job_that_fails_says_why_in_its_row_and_its_events(database: Database) -> None:
    queue.add(database)
    lease, error = queue.claim(database), {"detail": "no space"}
    with database.begin() as session:
        assert leases.end(session, lease, JobState.FAILED, error=error) is JobState.FAILED
    row = queue.job(database, lease.job_id)
    assert (row.state, row.error) == (JobState.FAILED, error)
    assert row.ended_at == pytest.approx(time.time(), abs=MINUTE)
    assert queue.told(database, lease.job_id)[-1] == (
        EventType.STATE,
        {"state": "failed", "attempt": 1, "error": error},
    )


def test_a_job_given_up_by_the_sweep_says_why_in_its_row_and_its_events(database: Database) -> None:
    job_id = queue.add(database)
    for swept in ([job_id], []):
        queue.claim(database, lease_seconds=-1)
        assert queue.sweep(database, max_attempts=2) == swept
    row = queue.job(database, job_id)
    assert (row.state, row.error, row.losses, row.attempt) == (JobState.FAILED, GAVE_UP, 2, 2)
    assert row.ended_at is not None
    assert queue.told(database, job_id)[-1][1] == {"state": "failed", "attempt": 2, "error": GAVE_UP}


def test_every_change_of_a_job_is_told(database: Database) -> None:
    job_id = queue.add(database)
    lease = queue.claim(database)
    with database.begin() as session:
        leases.start_stage(session, lease, Stage.ERM)
        leases.write_progress(session, lease, {"fraction": 0.5}, advanced=True)
        leases.log(session, lease, "a line")
        leases.finish_stage(session, lease, Stage.ERM, {"seconds": 1.5})
        leases.set_metrics(session, lease, {"accuracy": 1.0})
        leases.release(session, lease, reason="worker stopped")
    again = queue.claim(database)
    for _ in range(2):  # a second cancel changes nothing, and is not told
        with database.begin() as session:
            assert jobs.cancel(session, job_id).state is JobState.CANCELLING
    with database.begin() as session:
        leases.end(session, again, JobState.CANCELLED)
    with database.begin() as session:
        jobs.resume(session, job_id)
    assert queue.told(database, job_id) == [
        (EventType.STATE, {"state": "running", "attempt": 1}),
        (EventType.STAGE, {"stage": "erm", "status": "started"}),
        (EventType.PROGRESS, {"fraction": 0.5}),
        (EventType.LOG, {"message": "a line"}),
        (EventType.STAGE, {"stage": "erm", "status": "finished", "seconds": 1.5}),
        (EventType.METRICS, {"accuracy": 1.0}),
        (EventType.STATE, {"state": "queued", "attempt": 1, "reason": "worker stopped"}),
        (EventType.STATE, {"state": "running", "attempt": 2}),
        (EventType.STATE, {"state": "cancelling", "attempt": 2}),
        (EventType.STATE, {"state": "cancelled", "attempt": 2}),
        (EventType.STATE, {"state": "queued", "attempt": 0, "reason": "resumed"}),
    ]
    row = queue.job(database, job_id)
    assert (row.stage, row.progress, row.metrics) == (Stage.ERM, {"fraction": 0.5}, {"accuracy": 1.0})
    assert (row.attempt, row.crashes, row.losses, row.ended_at) == (0, 0, 0, None)
    assert (row.event_seq, set(row.times)) == (12, {"queued", "running", "cancelling", "cancelled"})
