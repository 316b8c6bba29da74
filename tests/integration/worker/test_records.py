"""What a worker writes of its own job, while others change theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.queries import datasets, jobs
from core.queries.jobs import Lease, LeaseLost
from core.session import Database
from core.tables import JobRow
from core.vocabulary import DatasetState, JobKind, JobState
from tests.integration.core.locks import while_it_waits
from worker import records
from worker.messages import Message


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_job_ends_while_the_data_set_of_another_is_deleted(
    database: Database, add_job: Callable[..., str], job_of: Callable[[str], JobRow]
) -> None:
    imported = job_of(add_job([], kind=JobKind.IMPORT))
    job_id = add_job([])
    with database.begin() as session:
        jobs.cancel(session, imported.id)
        row = jobs.claim(session, worker="w", lease_seconds=60)
        assert row is not None
    assert row.id == job_id
    lease = Lease(job_id, row.token)
    while_it_waits(
        database,
        lambda s: datasets.delete(s, str(imported.dataset_id)),
        lambda s: records.end(s, lease, JobState.SUCCEEDED),
    ).result()
    assert job_of(job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_worker_that_loses_its_lease_meanwhile_closes_no_data_set(
    database: Database, add_job: Callable[..., str], job_of: Callable[[str], JobRow]
) -> None:
    job_id = add_job([], kind=JobKind.IMPORT)
    with database.begin() as session:
        row = jobs.claim(session, worker="w", lease_seconds=-1)
        assert row is not None
    lease = Lease(job_id, row.token)
    result: dict[str, Any] = {"artifact": None, "ready": False, "classes": [], "summary": {}}
    message: Message = {"type": "stage_finished", "stage": "import", "result": result}
    with pytest.raises(LeaseLost):
        while_it_waits(
            database,
            lambda s: jobs.requeue_expired(s, max_attempts=5, too_many={}),
            lambda s: records.record(s, lease, message),
        ).result()
    with database.read() as session:
        assert datasets.get(session, str(row.dataset_id)).state is DatasetState.IMPORTING
