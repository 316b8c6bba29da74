"""The sweep beside what others do at the same moment, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core.queries import datasets, jobs
from core.session import Database
from core.sweep import close_imports
from core.tables import DatasetRow, JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import DatasetState, JobKind
from tests.integration.core.locks import while_it_waits
from tests.integration.core.queue import MINUTE
from tests.support.rows import dataset_row


def _orphan(database: Database) -> str:
    """A data set whose import was cancelled before it began."""
    dataset_id, job_id = new_id("ds"), new_id("job")
    with database.begin() as session:
        datasets.add(
            session,
            dataset_row(id=dataset_id, state=DatasetState.IMPORTING, job_id=job_id),
        )
        jobs.add(session, JobRow(id=job_id, kind=JobKind.IMPORT, params={}, dataset_id=dataset_id))
        jobs.cancel(session, job_id)
    return dataset_id


def _state(database: Database, dataset_id: str) -> DatasetState:
    with database.read() as session:
        return datasets.get(session, dataset_id).state


def test_the_data_sets_of_one_job_are_closed_or_of_all(database: Database) -> None:
    first, second = _orphan(database), _orphan(database)
    with database.begin() as session:
        close_imports(session, datasets.get(session, first).job_id)
    assert (_state(database, first), _state(database, second)) == (
        DatasetState.INVALID,
        DatasetState.IMPORTING,
    )
    with database.begin() as session:
        close_imports(session)
    assert _state(database, second) is DatasetState.INVALID


def test_old_images_without_labels_go_unless_a_job_needs_them_and_one_takes_its_own_along(
    database: Database,
) -> None:
    old, busy, new, kept = (
        dataset_row(labelled=name == "labelled", created_at=0.0 if name != "new" else None)
        for name in ("old", "busy", "new", "labelled")
    )
    with database.begin() as session:
        session.add_all([old, busy, new, kept])
        session.flush()
        one, waiting = (
            jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.PREDICT, params={}, dataset_id=row.id))
            for row in (old, busy)
        )
        jobs.cancel(session, one.id)
        assert datasets.predicted_by(session, one, lock=True) is old
        assert datasets.predicted_by(session, waiting) is None
        assert datasets.delete_unlabelled(session, older_than=MINUTE) >= {f"datasets/{old.id}"}
    with database.read() as session:
        assert set(session.scalars(select(DatasetRow.id))) == {busy.id, new.id, kept.id}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_data_set_that_is_being_deleted_is_left_alone(database: Database) -> None:
    deleted, other = _orphan(database), _orphan(database)
    while_it_waits(database, lambda s: datasets.delete(s, deleted), close_imports).result()
    assert _state(database, other) is DatasetState.INVALID
