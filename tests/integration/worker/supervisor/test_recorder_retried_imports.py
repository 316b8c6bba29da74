"""An import that is tried again opens its data set again; nothing else does, and an end closes it."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from core.queries import datasets, jobs
from core.queries.leases import Lease, LeaseLost
from core.session import Database
from core.tables import DatasetRow, JobRow, TrashRow
from masktune.contract.vocabulary import DatasetState, JobKind, JobState
from tests.integration.core import queue
from tests.integration.worker.conftest import AddJob, JobOf
from tests.support.stage_results import stage_result
from worker.protocol import StageFinished
from worker.supervisor import recorder as records

ERROR = {"type": "/problems/job-failed", "reason": "source_unavailable", "detail": "no file"}


def _dataset(database: Database, job: JobRow) -> DatasetRow:
    with database.read() as session:
        return datasets.get(session, str(job.dataset_id))


def _begin(database: Database, lease: Lease) -> None:
    with database.begin() as session:
        assert records.begin(session, lease).id == lease.job_id


def test_a_data_set_is_closed_when_its_import_fails_and_open_when_it_is_tried_again(
    database: Database, add_job: AddJob, job_of: JobOf
) -> None:
    job_id = add_job([], kind=JobKind.IMPORT)
    first = queue.claim(database)
    _begin(database, first)
    assert _dataset(database, job_of(job_id)).state is DatasetState.IMPORTING
    with database.begin() as session:
        records.end(session, first, JobState.FAILED, error=ERROR)
    closed = _dataset(database, job_of(job_id))
    assert (closed.state, closed.ended_at is None) == (DatasetState.INVALID, False)
    with database.begin() as session:
        jobs.resume(session, job_id)
    second = queue.claim(database)
    with pytest.raises(LeaseLost):  # whose word does not count any more opens nothing
        _begin(database, first)
    assert _dataset(database, job_of(job_id)).state is DatasetState.INVALID
    _begin(database, second)
    again = _dataset(database, job_of(job_id))
    assert (again.state, again.ended_at) == (DatasetState.IMPORTING, None)


@pytest.mark.parametrize("state", [DatasetState.INVALID, DatasetState.READY])
def test_a_job_that_only_reads_a_data_set_leaves_it_as_it_is(
    database: Database, add_job: AddJob, job_of: JobOf, state: DatasetState
) -> None:
    job_id = add_job([], kind=JobKind.ERM)
    with database.begin() as session:
        session.execute(update(DatasetRow).values(state=state, ended_at=1.0))
    lease = queue.claim(database)
    _begin(database, lease)
    with database.begin() as session:
        records.end(session, lease, JobState.FAILED, error=ERROR)
    found = _dataset(database, job_of(job_id))
    assert (found.state, found.ended_at) == (state, 1.0)


@pytest.mark.parametrize("ready", [True, False])
def test_an_upload_is_deleted_once_its_data_set_is_ready(
    database: Database, add_job: AddJob, ready: bool
) -> None:
    add_job([], kind=JobKind.IMPORT)
    lease = queue.claim(database)
    with database.begin() as session:
        session.execute(update(DatasetRow).values(source={"upload": "uploads/ds_1"}))
    with database.begin() as session:
        records.record(session, lease, StageFinished(result=stage_result("import", ready=ready)))
    with database.read() as session:
        assert list(session.scalars(select(TrashRow.key))) == (["uploads/ds_1"] if ready else [])
