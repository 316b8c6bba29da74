"""Events of jobs that ended long ago: what only moved a bar is forgotten, on both engines, once."""

from __future__ import annotations

from typing import Any

from core.queries import events, jobs
from core.session import Database
from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import EventType, JobKind, JobState

DAY = 86_400.0
WITHIN: dict[str, Any] = {"stage": "erm", "epoch": 0, "fraction": 0.1, "metrics": {}}
EPOCH: dict[str, Any] = {"stage": "erm", "epoch": 1, "fraction": 0.5, "metrics": {"loss": 0.3}}


def _ended(database: Database, *, days_ago: float) -> str:
    """A job with seven events, of which three only moved its bar."""
    with database.begin() as session:
        job = jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.ERM, params={})).id
        events.add(session, job, EventType.STAGE, {"stage": "erm", "status": "started"})
        events.add(session, job, EventType.PROGRESS, WITHIN)
        events.add(session, job, EventType.PROGRESS, {"stage": "erm", "fraction": 0.2})
        events.add(session, job, EventType.PROGRESS, EPOCH)
        events.add(session, job, EventType.PROGRESS, WITHIN)
        events.add(session, job, EventType.LOG, {"message": "a line", "metrics": {}})
        jobs.cancel(session, job)
        row = session.get_one(JobRow, job)
        assert row.ended_at is not None
        row.ended_at -= days_ago * DAY
    return job


def _thin(database: Database, *, at_a_time: int = 10) -> list[str]:
    with database.begin() as session:
        return events.thin(session, older_than=7 * DAY, at_a_time=at_a_time)


def _numbers(database: Database, job: str, *, thin: bool = False) -> list[int]:
    with database.read() as session:
        return [event.seq for event in events.page(session, job, after=0, limit=100, thin=thin)]


def test_what_only_moved_the_bar_is_forgotten_of_old_jobs_and_not_in_a_thin_page(
    database: Database,
) -> None:
    old, new = _ended(database, days_ago=8), _ended(database, days_ago=6)
    with database.begin() as session:
        waiting = jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.ERM, params={})).id
        events.add(session, waiting, EventType.PROGRESS, WITHIN)
    thin = _numbers(database, old, thin=True)
    assert _thin(database) == [old]
    assert _numbers(database, old) == thin == [1, 2, 5, 7, 8]
    assert _numbers(database, new) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert _numbers(database, waiting) == [1, 2]
    assert _thin(database) == []


def test_a_few_jobs_at_a_time_the_oldest_first(database: Database) -> None:
    younger, oldest, old = (_ended(database, days_ago=days) for days in (8, 30, 20))
    assert _thin(database, at_a_time=2) == [oldest, old]
    assert _thin(database, at_a_time=2) == [younger]


def test_a_resumed_job_goes_on_counting_and_is_thinned_out_again(database: Database) -> None:
    job = _ended(database, days_ago=8)
    _thin(database)
    with database.begin() as session:
        assert jobs.resume(session, job).state is JobState.QUEUED
        events.add(session, job, EventType.PROGRESS, WITHIN)
    assert _numbers(database, job) == [1, 2, 5, 7, 8, 9, 10]
    assert _thin(database) == []
    with database.begin() as session:
        jobs.cancel(session, job)
        row = session.get_one(JobRow, job)
        assert row.ended_at is not None
        row.ended_at -= 8 * DAY
    assert _thin(database) == [job]
    assert _numbers(database, job) == [1, 2, 5, 7, 8, 9, 11]
