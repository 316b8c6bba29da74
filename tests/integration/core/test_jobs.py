"""The life of a job in SQL, on SQLite and on PostgreSQL: claim, cancel, lose, end, resume."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import JobNotResumable, NotFound
from core.queries import events, jobs, leases, states, trash
from core.queries.leases import Lease, LeaseLost
from core.session import Database
from core.tables import JobRow, TrashRow
from masktune.contract.ids import calibration_id, pattern_judge_id
from masktune.contract.vocabulary import EventType, JobKind, JobState, Stage
from tests.integration.core import queue
from tests.integration.core.locks import while_it_waits


def test_many_workers_claim_each_job_once(database: Database) -> None:
    made = {queue.add(database) for _ in range(24)}
    claimed: list[str] = []

    def work() -> None:
        while True:
            with database.begin() as session:
                row = leases.claim(session, worker="w", lease_seconds=60)
            if row is None:
                return
            claimed.append(row.id)

    with ThreadPoolExecutor(6) as pool:
        for worker in [pool.submit(work) for _ in range(6)]:
            worker.result()
    assert sorted(claimed) == sorted(made)


def test_a_queued_job_is_cancelled_at_once(database: Database) -> None:
    job_id = queue.add(database)
    with database.begin() as session:
        assert jobs.cancel(session, job_id).state is JobState.CANCELLED
    with database.begin() as session:
        assert leases.claim(session, worker="w", lease_seconds=60) is None


LOST: dict[str, Callable[[Session, Lease], object]] = {
    "released": lambda s, lease: leases.release(s, lease, reason="crashed", crashed=True),
    "failed": lambda s, lease: leases.end(s, lease, JobState.FAILED, error={"detail": "crashed"}),
    "expired": lambda s, _: leases.requeue_expired(s, max_attempts=5, too_many={}),
}


@pytest.mark.parametrize("how", LOST)
def test_a_job_cancelled_and_then_lost_ends_cancelled(database: Database, how: str) -> None:
    job_id = queue.add(database)
    lease = queue.claim(database, lease_seconds=-1)
    with database.begin() as session:
        assert jobs.cancel(session, job_id).state is JobState.CANCELLING
    with database.begin() as session:
        LOST[how](session, lease)
    row = queue.job(database, job_id)
    assert (row.state, row.error) == (JobState.CANCELLED, None)
    assert row.ended_at is not None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("how", ["released", "failed"])
def test_a_cancel_that_commits_while_the_worker_writes_is_kept(database: Database, how: str) -> None:
    """SQLite has one writer at a time."""
    job_id = queue.add(database)
    lease = queue.claim(database)
    while_it_waits(database, lambda s: jobs.cancel(s, job_id), lambda s: LOST[how](s, lease)).result()
    row = queue.job(database, job_id)
    assert (row.state, row.error) == (JobState.CANCELLED, None)


def _lose(session: Session) -> None:
    assert leases.requeue_expired(session, max_attempts=5, too_many={})


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_worker_that_loses_its_lease_while_it_writes_logs_nothing(database: Database) -> None:
    job_id = queue.add(database)
    lease = queue.claim(database, lease_seconds=-1)
    with pytest.raises(LeaseLost):
        while_it_waits(database, _lose, lambda s: leases.log(s, lease, "late")).result()
    assert EventType.LOG not in [type for type, _ in queue.told(database, job_id)]


def _lose_worker(database: Database, *, max_attempts: int) -> None:
    queue.claim(database, lease_seconds=-1)
    queue.sweep(database, max_attempts=max_attempts)


def test_a_job_that_was_given_back_often_outlives_its_first_lost_worker(database: Database) -> None:
    job_id = queue.add(database)
    for _ in range(3):
        lease = queue.claim(database)
        with database.begin() as session:
            leases.release(session, lease, reason="worker stopped")
    _lose_worker(database, max_attempts=2)
    row = queue.job(database, job_id)
    assert (row.state, row.attempt) == (JobState.QUEUED, 4)


FORWARD: dict[str, Callable[[Session, Lease], object]] = {
    "epoch": lambda s, lease: leases.write_progress(s, lease, {"fraction": 0.5}, advanced=True),
    "stage": lambda s, lease: leases.finish_stage(s, lease, Stage.ERM, {}),
}


@pytest.mark.parametrize("how", FORWARD)
def test_progress_forgives_lost_workers(database: Database, how: str) -> None:
    job_id = queue.add(database)
    _lose_worker(database, max_attempts=2)
    lease = queue.claim(database, lease_seconds=-1)
    with database.begin() as session:
        FORWARD[how](session, lease)
    queue.sweep(database, max_attempts=2)
    assert queue.job(database, job_id).state is JobState.QUEUED


def test_a_resumed_job_keeps_what_it_did_forgets_what_it_lost_and_may_be_claimed_at_once(
    database: Database,
) -> None:
    job_id = queue.add(database)
    lease = queue.claim(database)
    with database.begin() as session:
        leases.finish_stage(session, lease, Stage.ERM, {"artifact": "jobs/j/erm", "seconds": 1.5})
        leases.end(session, lease, JobState.FAILED, error={"detail": "no space"})
        row = jobs.get(session, job_id)
        row.crashes, row.losses, row.thinned_at, row.not_before = 2, 3, 1.0, 2e10
    with database.begin() as session:
        row = jobs.resume(session, job_id)
    assert (row.state, row.error, row.ended_at) == (JobState.QUEUED, None, None)
    assert (row.crashes, row.losses, row.thinned_at) == (0, 0, None)
    assert row.done == {"erm": {"artifact": "jobs/j/erm", "seconds": 1.5}}
    assert queue.claim(database).job_id == job_id


def _trash(database: Database) -> dict[str, float]:
    """Keys of what is to be deleted → seconds from now."""
    with database.read() as session:
        return {row.key: row.at - time.time() for row in session.scalars(select(TrashRow))}


def _ended(database: Database, lease: Lease, state: JobState) -> None:
    with database.begin() as session:
        leases.end(session, lease, state)


def _cancelled_in_the_queue(database: Database, lease: Lease) -> None:
    with database.begin() as session:
        leases.release(session, lease, reason="worker stopped")
        jobs.cancel(session, lease.job_id)


ENDINGS: dict[str, Callable[[Database, Lease], object]] = {
    "failed": lambda d, lease: _ended(d, lease, JobState.FAILED),
    "cancelled": lambda d, lease: _ended(d, lease, JobState.CANCELLED),
    "cancelled while it waited": _cancelled_in_the_queue,
    "given up by the sweep": lambda d, lease: queue.sweep(d, max_attempts=1),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_what_an_ended_job_may_have_written_unrecorded_goes_and_a_resumed_one_writes_none_of_it(
    database: Database, how: str
) -> None:
    """Somebody may be deleting it, for as long as the store takes."""
    made = {"erm": "mdl_1", "masktune": "mdl_2", "masktune_control": "mdl_3"}
    job_id = queue.add(database, inputs={"model_ids": made})
    lease = queue.claim(database, lease_seconds=-1)
    with database.begin() as session:
        leases.set_models(session, lease, {"erm": "mdl_1"})
        trash.put(session, ["backbones/mdl_1"], after=1e9)  # a copy of what is stored, which the job reads
    ENDINGS[how](database, lease)
    assert queue.job(database, job_id).state.ended
    left = _trash(database)
    assert left.pop("backbones/mdl_1") <= 0
    calibration = f"calibrations/{calibration_id(job_id, 'mdl_1')}"
    made_later = {f"{kind}/{model}" for kind in ("models", "backbones") for model in ("mdl_2", "mdl_3")}
    assert set(left) == made_later | {calibration, f"pattern_judges/{pattern_judge_id(job_id)}"}
    assert min(left.values()) > 80_000, "a worker that was stopped may write them once more"
    with database.begin() as session:
        row = jobs.resume(session, job_id)
    assert _trash(database).keys() == {"backbones/mdl_1", *left}
    assert row.inputs["model_ids"]["erm"] == "mdl_1"
    assert not left.keys() & set(states.unrecorded_keys(row))
    assert len(states.unrecorded_keys(row)) == len(left)


@pytest.mark.parametrize("recorded", [False, True])
def test_of_a_job_that_makes_no_model_a_calibration_goes_unless_it_was_recorded(
    database: Database, recorded: bool
) -> None:
    job_id = queue.add(database, kind=JobKind.EVALUATE, inputs={"model": "mdl_1"})
    lease = queue.claim(database)
    if recorded:
        with database.begin() as session:
            leases.finish_stage(session, lease, Stage.CALIBRATE, {})
    _ended(database, lease, JobState.FAILED)
    assert list(_trash(database)) == [f"calibrations/{calibration_id(job_id, 'mdl_1')}"] * (not recorded)


@pytest.mark.parametrize("recorded", [False, True])
def test_a_judge_of_patterns_goes_unless_it_was_recorded(database: Database, recorded: bool) -> None:
    job_id = queue.add(database, kind=JobKind.RETRAIN_HEAD, inputs={"model": "mdl_1"})
    lease = queue.claim(database)
    if recorded:
        with database.begin() as session:
            leases.finish_stage(session, lease, Stage.INFER_GROUPS, {})
    _ended(database, lease, JobState.FAILED)
    assert (f"pattern_judges/{pattern_judge_id(job_id)}" in _trash(database)) is not recorded


def test_a_job_that_succeeded_leaves_its_models_and_is_not_resumed(database: Database) -> None:
    job_id = queue.add(database, inputs={"model_ids": {"erm": "mdl_1"}})
    _ended(database, queue.claim(database), JobState.SUCCEEDED)
    assert _trash(database) == {}
    with pytest.raises(JobNotResumable), database.begin() as session:
        jobs.resume(session, job_id)


def test_a_stage_recorded_twice_stays_as_it_was(database: Database) -> None:
    queue.add(database)
    lease = queue.claim(database)
    with database.begin() as session:
        leases.finish_stage(session, lease, Stage.ERM, {"artifact": "first"})
        row = leases.finish_stage(session, lease, Stage.ERM, {"artifact": "second"})
    assert row.done["erm"] == {"artifact": "first"}


def _oldest(database: Database) -> float:
    with database.read() as session:
        return jobs.oldest_queued_seconds(session)


def test_the_longest_wait_is_since_a_job_was_queued_last(database: Database) -> None:
    assert _oldest(database) == 0
    queue.add(database, not_before=2e10)  # held back: it does not wait for a worker
    assert _oldest(database) == 0
    queue.add(database, created_at=time.time() - 1000)
    assert 900 < _oldest(database) < 1100
    lease = queue.claim(database)
    assert _oldest(database) == 0
    with database.begin() as session:
        leases.release(session, lease, reason="worker stopped")
    assert _oldest(database) < 100
    queue.claim(database, lease_seconds=-1)
    queue.sweep(database)
    assert _oldest(database) < 100
    with database.begin() as session:
        jobs.cancel(session, lease.job_id)
        jobs.resume(session, lease.job_id)
    assert _oldest(database) < 100


def test_concurrent_writers_leave_no_gap_and_no_reader_misses_one(database: Database) -> None:
    job_id = queue.add(database)
    seen: list[int] = []
    written = threading.Event()

    def write() -> None:
        for n in range(25):
            with database.begin() as session:
                events.add(session, job_id, EventType.LOG, {"n": n})

    def read() -> None:
        last = False
        while not last:
            last = written.is_set()  # asked before the read: what came until then must be in it
            with database.read() as session:
                rows = events.page(session, job_id, after=seen[-1] if seen else 0, limit=200)
            seen.extend(row.seq for row in rows)
            time.sleep(0.001)  # a reader that spins starves the writers of this process

    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read)
        try:
            for writer in [pool.submit(write) for _ in range(4)]:
                writer.result()
        finally:
            written.set()
        reader.result()
    assert seen == list(range(1, 102))


def test_one_poll_serves_many_followers(database: Database) -> None:
    first, second = queue.add(database), queue.add(database)
    with database.begin() as session:
        events.add(session, second, EventType.LOG, {"message": "hello"})
    with database.read() as session:
        heads = events.heads(session, [first, second])
        rows = events.between(session, {first: (0, heads[first]), second: (1, heads[second])})
    assert heads == {first: 1, second: 2}
    assert [(r.job_id, r.seq) for r in rows] == [(first, 1), (second, 2)]


def test_an_unknown_job_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound), database.begin() as session:
        jobs.cancel(session, "job_0")


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    job_id = queue.add(database)
    with database.begin() as writer:
        events.add(writer, job_id, EventType.LOG, {})
        with database.read() as reader:
            assert jobs.get(reader, job_id).event_seq == 1


def test_jobs_that_have_judged_a_job(database: Database) -> None:
    job_id = queue.add(database)
    judging = queue.add(database, kind=JobKind.EVALUATE, params={"job": job_id})
    queue.add(database, kind=JobKind.EVALUATE, params={"job": job_id})  # has not ended
    other = queue.add(database, kind=JobKind.EVALUATE, params={"job": "job_other"})
    without = queue.add(database, kind=JobKind.EVALUATE, params={"splits": ["test"]})
    with database.begin() as session:
        for ended in (judging, other, without):
            session.get_one(JobRow, ended).state = JobState.SUCCEEDED
    with database.read() as session:
        assert [row.id for row in jobs.judging(session, job_id)] == [judging]
