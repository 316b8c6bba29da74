"""Each crash waits twice as long as the one before, and the last one that is allowed ends the job."""

from __future__ import annotations

import pytest

from core.queries import leases
from core.queries.leases import Lease
from core.session import Database
from core.tables import JobRow
from masktune.contract.vocabulary import JobState
from tests.integration.worker.conftest import AddJob, JobOf
from worker.supervisor import recorder as records

BACKOFF = 40.0
ERROR = {"type": "/problems/job-failed", "reason": "child_crashed", "detail": "it broke"}


def _crash(database: Database, *, epoch: bool = False, max_crashes: int = 4) -> JobState:
    """Claim the job, whenever it may be claimed, and let its child break, behind an epoch or not."""
    with database.begin() as session:
        session.query(JobRow).one().not_before = 0.0
    with database.begin() as session:
        row = leases.claim(session, worker="w", lease_seconds=60)
        assert row is not None
        lease = Lease(row.id, row.token)
        if epoch:
            leases.write_progress(session, lease, {"fraction": 0.5}, advanced=True)
        return records.crashed(
            session, lease, ERROR, reason="it broke", max_crashes=max_crashes, backoff=BACKOFF
        )


def _wait(job: JobRow) -> float:
    assert job.not_before is not None
    return job.not_before - float(job.times["queued"])


def test_a_crash_waits_twice_as_long_as_the_one_before_until_there_are_too_many(
    database: Database, add_job: AddJob, job_of: JobOf
) -> None:
    job_id = add_job([])
    for number in range(3):
        assert _crash(database) is JobState.QUEUED
        job = job_of(job_id)
        assert (job.crashes, job.error) == (number + 1, None)
        assert _wait(job) == pytest.approx(BACKOFF * 2**number, abs=BACKOFF / 2)
    assert _crash(database) is JobState.FAILED
    job = job_of(job_id)
    assert (job.state, job.error, job.attempt) == (JobState.FAILED, ERROR, 4)


def test_an_epoch_makes_the_wait_short_again(database: Database, add_job: AddJob, job_of: JobOf) -> None:
    job_id = add_job([])
    for _ in range(3):
        _crash(database)
    assert _crash(database, epoch=True) is JobState.QUEUED
    job = job_of(job_id)
    assert job.crashes == 1
    assert _wait(job) == pytest.approx(BACKOFF, abs=BACKOFF / 2)


def test_no_wait_is_longer_than_an_hour(database: Database, add_job: AddJob, job_of: JobOf) -> None:
    """Of a job that may crash often, as where machines are taken away: doubled so often it was for years."""
    job_id = add_job([])
    with database.begin() as session:
        session.query(JobRow).one().crashes = 5000
    assert _crash(database, max_crashes=10_000) is JobState.QUEUED
    assert _wait(job_of(job_id)) == pytest.approx(3600, abs=BACKOFF)
