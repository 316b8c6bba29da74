"""Jobs that are deleted: what stays of them, and what holds them, on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.queries import datasets, events, image_answers, jobs, registry
from core.session import Database
from core.tables import ImageAnswersRow, JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import DatasetState, JobKind, JobState, Stage
from tests.integration.core import queue
from tests.integration.core.locks import while_it_waits
from tests.support.rows import dataset_row, model_row
from tests.support.stage_results import EVALUATION, PATTERN_JUDGE


def ended(database: Database, *, kind: JobKind = JobKind.ERM, **fields: Any) -> str:
    job_id = queue.add(database, kind=kind, **fields)
    with database.begin() as session:
        jobs.cancel(session, job_id)
    return job_id


def test_its_models_and_data_set_stay_and_name_no_job(database: Database) -> None:
    job_id = ended(database)
    with database.begin() as session:
        dataset = datasets.add(session, dataset_row(job_id=job_id))
        judge = PATTERN_JUDGE | {"job": job_id}
        model = registry.add(session, model_row(job_id=job_id, dataset_id=dataset.id, pattern_judge=judge))
        job = session.get_one(JobRow, job_id)
        job.dataset_id = dataset.id
        image_answers.put(session, job, {4: True}, needed=None, by=None, by_name=None)
    with database.begin() as session:
        jobs.delete(session, job_id)
    with database.read() as session:
        assert (session.get(JobRow, job_id), session.get(ImageAnswersRow, job_id)) == (None, None)
        assert events.page(session, job_id, after=0, limit=9) == []
        assert registry.get(session, model.id).job_id is datasets.get(session, dataset.id).job_id is None
        assert registry.training_job(session, registry.get(session, model.id)) is None
        assert registry.get(session, model.id).pattern_judge == judge


@pytest.mark.parametrize("kind", [JobKind.ERM, JobKind.EVALUATE])
def test_the_evaluations_of_a_training_stay_and_those_of_an_evaluate_job_go(
    database: Database, kind: JobKind
) -> None:
    job_id, other = ended(database, kind=kind), {"job_0": EVALUATION | {"job": "job_0"}}
    evaluations = other | {job_id: EVALUATION | {"job": job_id}}
    with database.begin() as session:
        own = registry.add(session, model_row(job_id=job_id, evaluations=evaluations)).id
        judged = registry.add(session, model_row(job_id="job_0", evaluations=evaluations)).id
        without = registry.add(session, model_row(job_id="job_0")).id
        compared = {"erm": judged, "masktune": own, "baseline": without, "imported": new_id("mdl")}
        session.get_one(JobRow, job_id).done = {Stage.EVALUATE: {"compared": compared}}
    with database.begin() as session:
        jobs.delete(session, job_id)
    nameless = {} if kind is JobKind.EVALUATE else {job_id: EVALUATION | {"job": None}}
    with database.read() as session:
        for model in (own, judged):
            assert registry.get(session, model).evaluations == other | nameless
        assert registry.get(session, without).evaluations == {}
        assert [registry.get(session, model).job_id for model in (own, judged)] == [None, "job_0"]


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING])
def test_not_while_it_is_active(database: Database, state: JobState) -> None:
    job_id = queue.add(database)
    with database.begin() as session:
        session.get_one(JobRow, job_id).state = state
    with database.begin() as session, pytest.raises(Conflict, match=f"{state.value}; cancel it"):
        jobs.delete(session, job_id)


def test_not_while_its_data_set_is_being_imported(database: Database) -> None:
    """The next sweep closes the data set of an import that was cancelled; without the job, none would."""
    job_id = ended(database, kind=JobKind.IMPORT)
    with database.begin() as session:
        datasets.add(session, dataset_row(job_id=job_id, state=DatasetState.IMPORTING))
    with database.begin() as session, pytest.raises(Conflict, match="in a moment"):
        jobs.delete(session, job_id)


def test_not_while_an_active_job_reads_what_it_has_made(database: Database) -> None:
    job_id = ended(database)
    with database.begin() as session:
        model = registry.add(session, model_row(job_id=job_id)).id
    for fields in (
        {"inputs": {"mask_set": job_id}},
        {"params": {"job": job_id}},
        {"kind": JobKind.FINETUNE, "inputs": {"model": model}},
    ):
        reader = queue.add(database, **fields)
        with database.begin() as session, pytest.raises(Conflict, match=reader):
            jobs.delete(session, job_id)
        with database.begin() as session:
            jobs.cancel(session, reader)
    queue.add(database, kind=JobKind.PREDICT, inputs={"model": model})  # reads the model alone
    with database.begin() as session:
        jobs.delete(session, job_id)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_it_is_deleted_or_read_and_never_both(database: Database) -> None:
    def start(mask_set: str) -> Any:
        def add(session: Session) -> None:
            jobs.keep_inputs(session, {"mask_set": mask_set}, {})
            queue_row = JobRow(id=f"job_of_{mask_set[-4:]}", kind=JobKind.FINETUNE, params={})
            queue_row.inputs = {"mask_set": mask_set}
            jobs.add(session, queue_row)

        return add

    read, deleted = ended(database, kind=JobKind.MASK), ended(database, kind=JobKind.MASK)
    with pytest.raises(Conflict, match="job_of_"):
        while_it_waits(database, start(read), lambda s: jobs.delete(s, read)).result()
    with pytest.raises(NotFound, match=deleted):
        while_it_waits(database, lambda s: jobs.delete(s, deleted), start(deleted)).result()
