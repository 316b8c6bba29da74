"""Two hosts whose clocks are two hours apart: the database's clock alone decides, on both databases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.orm import Session

from core.queries import audit, events, idempotency, jobs, leases, trash
from core.queries.audit import AuditFilters
from core.queries.leases import Lease
from core.session import Database
from core.tables import AuditRow, JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind, JobState

pytestmark = pytest.mark.faults

MINUTE = 60.0


class Host:
    """A process whose clock is so many seconds ahead of the database's, or behind it."""

    def __init__(self, database: Database, ahead: float) -> None:
        self._database, self._ahead = database, ahead

    @contextmanager
    def begin(self) -> Iterator[Session]:
        right = time.time
        with pytest.MonkeyPatch.context() as patch, self._database.begin() as session:
            patch.setattr(time, "time", lambda: right() + self._ahead)
            yield session

    def add_job(self) -> str:
        with self.begin() as session:
            return jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.ERM, params={})).id

    def claim(self, *, lease_seconds: float = MINUTE) -> Lease | None:
        with self.begin() as session:
            row = leases.claim(session, worker="w", lease_seconds=lease_seconds)
            return None if row is None else Lease(row.id, row.token)

    def sweep(self) -> list[str]:
        with self.begin() as session:
            return leases.requeue_expired(session, max_attempts=5, too_many={})


@pytest.fixture(params=[3600.0, -3600.0], ids=["ahead", "behind"])
def hosts(request: pytest.FixtureRequest, database: Database) -> tuple[Host, Host]:
    """Two hosts, and in the second case with their clocks exchanged."""
    return Host(database, request.param), Host(database, -request.param)


def test_a_lease_ends_when_the_database_says_so(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    job_id = one.add_job()
    lease = one.claim()
    assert lease is not None
    assert other.sweep() == []
    assert other.claim() is None
    with one.begin() as session:
        leases.renew(session, lease, lease_seconds=-1.0)
    assert other.sweep() == [job_id]


def test_a_retry_waits_as_long_by_every_clock(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    one.add_job()
    for delay in (0.0, MINUTE):
        lease = other.claim()
        assert lease is not None
        with one.begin() as session:
            leases.release(session, lease, reason="crashed", delay=delay)
    assert other.claim() is None


def test_jobs_are_claimed_and_listed_in_the_order_in_which_they_came(hosts: tuple[Host, Host]) -> None:
    """Their ids are not in this order: these have the time of the host that made them."""
    one, other = hosts
    added = [host.add_job() for host in (one, other, one, other)]
    assert added != sorted(added)
    claimed = [lease.job_id for lease in (one.claim(), other.claim(), one.claim(), other.claim()) if lease]
    assert claimed == added


def test_times_that_are_shown_are_the_database_s(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    now = time.time()
    job_id = one.add_job()
    lease = one.claim()
    assert lease is not None
    with one.begin() as session:
        leases.end(session, lease, JobState.SUCCEEDED)
        row = jobs.get(session, job_id)
        times = [
            row.created_at,
            row.ended_at,
            *(e.at for e in events.page(session, job_id, after=0, limit=9)),
        ]
    assert times == pytest.approx([now] * len(times), abs=MINUTE)


def test_nothing_is_kept_for_a_shorter_or_longer_time(hosts: tuple[Host, Host]) -> None:
    """A response that is replayed, an entry of the audit log, an artifact whose row may still come."""
    one, other = hosts
    with one.begin() as session:
        assert idempotency.begin(session, "key", "f", stale_after=MINUTE) is None
        trash.put(session, ["models/mdl_1"], after=MINUTE)
        session.add(
            AuditRow(id="1", actor="anyone", action="create_job", object="o", status=202, request_id="r")
        )
    with other.begin() as session:
        idempotency.purge(session, older_than=MINUTE, span=MINUTE)
        audit.purge(session, older_than=MINUTE, span=MINUTE)
        assert idempotency.begin(session, "key", "f", stale_after=MINUTE) is not None
        assert len(audit.listing(session, AuditFilters(), before=None, limit=9)) == 1
        assert trash.due(session, older_than=0.0) == []
        assert trash.take_back(session, "models/mdl_1")
        for purge in (idempotency.purge, audit.purge):
            assert purge(session, older_than=-MINUTE, span=MINUTE) == 1
        assert audit.listing(session, AuditFilters(), before=None, limit=9) == []
