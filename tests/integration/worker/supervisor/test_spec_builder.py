"""What a claimed job is begun with: only what is left to do, and nothing where it is gone or another's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from core.errors import DatasetNotReady, NotFound
from core.queries import jobs, registry
from core.queries.leases import Lease
from core.session import Database
from core.tables import DatasetRow, JobRow
from masktune.contract.vocabulary import Arm, DatasetState, JobKind, JobState, Stage
from tests.integration.core import queue
from tests.integration.worker.conftest import AddJob, EventsOf, JobOf
from tests.support.rows import model_row
from tests.support.stage_results import stage_result
from worker.results import result_to_json
from worker.runtime import Runtime
from worker.supervisor.spec_builder import build_spec
from worker.supervisor.supervisor import Supervisor

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""Nothing here depends on the database: `test_supervisor.py` goes through all of it on both."""


@pytest.fixture
def unstarted(runtime: Runtime, tmp_path: Path) -> Runtime:
    """Its child, were it started, would leave a file."""
    return replace(runtime, child=("/bin/touch", str(tmp_path / "started")))


def _claimed(runtime: Runtime) -> tuple[Supervisor, Lease]:
    claimed_at = time.monotonic()
    lease = queue.claim(runtime.database, lease_seconds=runtime.settings.lease_seconds)
    return Supervisor(runtime, lease, slot=0, claimed_at=claimed_at), lease


GONE: dict[str, tuple[Callable[[JobRow], Any], str]] = {
    "data set": (lambda job: delete(DatasetRow), "not-found"),
    "data set that was ready": (
        lambda job: update(DatasetRow).values(state=DatasetState.INVALID),
        "dataset-not-ready",
    ),
    "model": (lambda job: update(JobRow).values(inputs={"model": "mdl_gone"}), "not-found"),
    "start": (lambda job: update(JobRow).values(params={"pretrained": "mdl_gone"}), "not-found"),
    "mask set": (lambda job: update(JobRow).values(inputs={"mask_set": "job_gone"}), "not-found"),
}


@pytest.mark.parametrize("what", GONE)
def test_a_job_whose_reading_is_gone_fails_at_once_and_says_what(
    unstarted: Runtime, database: Database, add_job: AddJob, job_of: JobOf, tmp_path: Path, what: str
) -> None:
    job_id = add_job([])
    change, kind = GONE[what]
    with database.begin() as session:
        session.execute(change(jobs.get(session, job_id)))
    supervisor, _ = _claimed(unstarted)
    supervisor.run()
    job = job_of(job_id)
    assert (job.state, job.attempt, job.crashes) == (JobState.FAILED, 1, 0)
    assert job.error is not None
    assert job.error["type"] == f"/problems/{kind}"
    assert not (tmp_path / "started").exists()


def test_a_lease_that_is_lost_before_the_job_begins_starts_and_writes_nothing(
    unstarted: Runtime,
    database: Database,
    add_job: AddJob,
    events_of: EventsOf,
    job_of: JobOf,
    tmp_path: Path,
) -> None:
    job_id = add_job([])
    supervisor, lease = _claimed(unstarted)
    with database.begin() as session:
        session.execute(update(JobRow).values(token=lease.token + 1))
    told = len(events_of(job_id))
    supervisor.run()
    assert (job_of(job_id).state, len(events_of(job_id))) == (JobState.RUNNING, told)
    assert not (tmp_path / "started").exists()


def _model(database: Database, **fields: Any) -> str:
    with database.begin() as session:
        return registry.add(session, model_row(**fields)).id


def _job(add_job: AddJob, database: Database, kind: JobKind, **fields: Any) -> str:
    job_id = add_job([], kind=kind)
    with database.begin() as session:
        for name, value in fields.items():
            setattr(jobs.get(session, job_id), name, value)
    return job_id


def _stages(database: Database, job_id: str) -> tuple[Stage, ...]:
    with database.read() as session:
        return build_spec(session, jobs.get(session, job_id), slot=0).stages


def test_stages_that_are_done_are_not_done_again_and_the_order_holds(
    database: Database, add_job: AddJob
) -> None:
    done = {stage: result_to_json(stage_result(stage)) for stage in ("mask", "infer_groups", "erm")}
    job_id = _job(add_job, database, JobKind.MASKTUNE, done=done)
    left = (Stage.FINETUNE, Stage.CONTROL, Stage.CALIBRATE, Stage.EVALUATE)
    assert _stages(database, job_id) == left
    fresh = _job(add_job, database, JobKind.MASKTUNE)
    assert _stages(database, fresh) == (Stage.ERM, Stage.INFER_GROUPS, Stage.MASK, *left)


def test_a_job_is_told_of_every_model_that_it_reads_and_of_their_erm_halves(
    database: Database, add_job: AddJob
) -> None:
    erm, other = _model(database), _model(database)
    tuned, made = _model(database, arm=Arm.MASKTUNE, erm_id=erm), _model(database, erm_id=other)
    start, unread = _model(database), _model(database)
    job_id = _job(
        add_job,
        database,
        JobKind.MASKTUNE,
        inputs={"model": tuned},
        params={"pretrained": start},
        models={"masktune_control": made},
    )
    with database.read() as session:
        found = build_spec(session, jobs.get(session, job_id), slot=3)
    assert (found.model, found.slot) == (tuned, 3)
    assert set(found.models) == {erm, other, tuned, made, start}
    assert unread not in found.models
    assert (found.models[tuned].erm_id, found.models[tuned].artifact) == (erm, f"models/{tuned}")


def test_only_an_import_may_read_what_is_not_ready(database: Database, add_job: AddJob) -> None:
    importing = _job(add_job, database, JobKind.IMPORT)
    training = _job(add_job, database, JobKind.ERM)
    with database.begin() as session:
        session.execute(update(DatasetRow).values(state=DatasetState.IMPORTING, artifact=None))
    assert _stages(database, importing) == (Stage.IMPORT,)
    with pytest.raises(DatasetNotReady):
        _stages(database, training)
    with database.begin() as session:
        session.execute(delete(DatasetRow))
    with pytest.raises(NotFound):
        _stages(database, importing)
