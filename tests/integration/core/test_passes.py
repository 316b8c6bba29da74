"""Shards are taken once in an attempt, whoever takes them, on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.queries import jobs, leases, passes
from core.queries.leases import Lease, LeaseLost
from core.session import Database
from core.slots import ALL_KINDS, IMPORTS
from core.tables import PassRow
from tests.integration.core import queue

KEY = "jobs/j/work/features"


def _open(database: Database, lease: Lease, numbers: list[int], *, key: str = KEY) -> None:
    row = PassRow(job_id=lease.job_id, token=lease.token, key=key, spec={}, numbers=numbers)
    row.shards = len(numbers)
    with database.begin() as session:
        passes.open_pass(session, row)


def _take(database: Database, lease: Lease, count: int = 1, *, key: str = KEY) -> list[int]:
    with database.begin() as session:
        return passes.take(session, lease, key, count)


def _best(database: Database) -> list[str]:
    with database.read() as session:
        assert not passes.best(session, IMPORTS)
        return [row.key for row in passes.best(session, ALL_KINDS - IMPORTS)]


def test_several_who_take_at_once_get_each_shard_once(database: Database) -> None:
    queue.add(database)
    lease, numbers = queue.claim(database), [3, 4, 7, *range(20, 57)]
    _open(database, lease, numbers)
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(lambda turn: _take(database, lease, 1 + turn % 3), range(30)))
    assert sorted(number for block in blocks for number in block) == numbers
    assert blocks[-1] == []
    assert _best(database) == []


def test_a_pass_is_of_one_attempt_and_replaces_the_one_before(database: Database) -> None:
    queue.add(database)
    lease = queue.claim(database)
    _open(database, lease, [0, 1, 2])
    _open(database, lease, [5], key="next")
    assert _best(database) == ["next"]
    assert _take(database, lease) == []
    assert _take(database, Lease(lease.job_id, lease.token - 1), key="next") == []
    assert _take(database, lease, 8, key="next") == [5]
    with pytest.raises(LeaseLost):
        _open(database, Lease(lease.job_id, lease.token - 1), [0])


def test_a_pass_goes_with_its_attempt(database: Database) -> None:
    queue.add(database)
    lease = queue.claim(database)
    _open(database, lease, [0, 1, 2])
    with database.begin() as session:
        leases.release(session, lease, reason="worker stopped")
    assert _best(database) == []
    lease = queue.claim(database)
    _open(database, lease, [0])
    with database.begin() as session:
        jobs.cancel(session, lease.job_id)
    assert _take(database, lease) == []
