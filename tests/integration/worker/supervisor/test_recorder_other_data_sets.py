"""What a job finds out about a model of another data set stays with the job."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import select

from core.queries import jobs, registry
from core.queries.leases import Lease
from core.session import Database
from core.tables import ModelRow, TrashRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind
from tests.integration.core import queue
from tests.integration.worker.conftest import AddJob, JobOf
from tests.support.rows import model_row
from tests.support.stage_results import CALIBRATION, MODEL, PATTERN_JUDGE, stage_result
from worker.protocol import StageFinished
from worker.supervisor import recorder as records

OLD = CALIBRATION | {"id": "cal_old", "artifact": "calibrations/cal_old"}
NEW = CALIBRATION | {"id": "cal_new", "artifact": "calibrations/cal_new"}
OLD_JUDGE = PATTERN_JUDGE | {"artifact": "pattern_judges/old"}
NEW_JUDGE = PATTERN_JUDGE | {"artifact": "pattern_judges/new"}
FIGURES = {"val": {"accuracy": 0.5}}


def _lease(database: Database, add_job: AddJob) -> tuple[Lease, str]:
    """Of a job that was claimed, and its data set."""
    add_job([], kind=JobKind.EVALUATE)
    lease = queue.claim(database)
    return lease, str(queue.job(database, lease.job_id).dataset_id)


def _model(database: Database, *, dataset_id: str | None, **fields: Any) -> str:
    row = model_row(dataset_id=dataset_id, metrics=dict(FIGURES), **fields)
    with database.begin() as session:
        return registry.add(session, row).id


def _record(database: Database, lease: Lease, stage: str, **result: Any) -> None:
    message = StageFinished(result=stage_result(stage, **result))
    with database.begin() as session:
        records.record(session, lease, message)


def _row(database: Database, model_id: str) -> ModelRow:
    with database.read() as session:
        return registry.get(session, model_id)


def _left(database: Database) -> list[str]:
    """Keys that go some time, and not at once: a job that runs may have been told of them."""
    with database.read() as session:
        return list(session.scalars(select(TrashRow.key).where(TrashRow.at > time.time() + 80_000)))


@pytest.mark.parametrize(("whose", "replaced"), [("own", True), ("none", True), ("other", False)])
def test_figures_are_replaced_by_those_of_the_models_own_data_set(
    database: Database, add_job: AddJob, job_of: JobOf, whose: str, replaced: bool
) -> None:
    lease, dataset_id = _lease(database, add_job)
    model_id = _model(database, dataset_id={"own": dataset_id, "none": None, "other": "ds_other"}[whose])
    measured = {"erm": {"val": {"accuracy": 0.9}}}
    _record(database, lease, "evaluate", compared={"erm": model_id}, metrics=measured)
    assert _row(database, model_id).metrics == (measured["erm"] if replaced else FIGURES)
    assert job_of(lease.job_id).metrics == measured, "the job tells what it found in any case"


@pytest.mark.parametrize(
    ("whose", "before", "after", "left"),
    [
        ("own", OLD, NEW, ["calibrations/cal_old"]),
        ("own", None, NEW, []),
        ("other", OLD, OLD, ["calibrations/cal_new"]),
        ("other", None, NEW, []),
    ],
    ids=["its own replaces", "its own is the first", "another's is left", "another's is better than none"],
)
def test_a_calibration_is_replaced_by_one_of_the_models_own_data_set(
    database: Database,
    add_job: AddJob,
    whose: str,
    before: dict[str, Any] | None,
    after: dict[str, Any],
    left: list[str],
) -> None:
    lease, dataset_id = _lease(database, add_job)
    model_id = _model(database, dataset_id=dataset_id if whose == "own" else "ds_other", calibration=before)
    for _ in range(2):  # the answer to the first COMMIT was lost
        _record(database, lease, "calibrate", artifact=NEW["artifact"], calibrations={model_id: NEW})
    assert _row(database, model_id).calibration == after
    assert _left(database) == left


@pytest.mark.parametrize(
    ("whose", "before", "after", "left"),
    [
        ("own", OLD_JUDGE, NEW_JUDGE, ["pattern_judges/old"]),
        ("own", None, NEW_JUDGE, []),
        ("other", OLD_JUDGE, OLD_JUDGE, ["pattern_judges/new"]),
        ("other", None, NEW_JUDGE, []),
        ("nobody's", OLD_JUDGE, NEW_JUDGE, ["pattern_judges/old"]),
    ],
)
def test_so_is_a_judge_of_patterns(
    database: Database,
    add_job: AddJob,
    whose: str,
    before: dict[str, Any] | None,
    after: dict[str, Any],
    left: list[str],
) -> None:
    lease, dataset_id = _lease(database, add_job)
    owner = {"own": dataset_id, "other": "ds_other", "nobody's": None}[whose]
    model_id = _model(database, dataset_id=owner, pattern_judge=before)
    for _ in range(2):
        _record(database, lease, "infer_groups", artifact="jobs/x/infer_groups", judges={model_id: NEW_JUDGE})
    assert _row(database, model_id).pattern_judge == after
    assert _left(database) == left


def test_a_job_that_infers_nothing_leaves_the_judge_of_an_earlier_one(
    database: Database, add_job: AddJob
) -> None:
    lease, dataset_id = _lease(database, add_job)
    model_id = _model(database, dataset_id=dataset_id, pattern_judge=OLD_JUDGE)
    _record(database, lease, "infer_groups")
    assert (_row(database, model_id).pattern_judge, _left(database)) == (OLD_JUDGE, [])


def test_a_model_that_was_deleted_meanwhile_is_no_error_and_what_was_stored_with_it_goes(
    database: Database, add_job: AddJob, job_of: JobOf
) -> None:
    lease, _ = _lease(database, add_job)
    gone = new_id("mdl")
    _record(database, lease, "calibrate", artifact=NEW["artifact"], calibrations={gone: NEW})
    _record(database, lease, "infer_groups", artifact="jobs/x/infer_groups", judges={gone: NEW_JUDGE})
    _record(database, lease, "evaluate", compared={"erm": gone}, metrics={"erm": FIGURES})
    assert _left(database) == ["calibrations/cal_new", "pattern_judges/new"]
    assert job_of(lease.job_id).metrics == {"erm": FIGURES}
    assert set(job_of(lease.job_id).done) == {"calibrate", "infer_groups", "evaluate"}


def test_a_model_that_was_recorded_before_is_recorded_once(
    database: Database, add_job: AddJob, job_of: JobOf
) -> None:
    """The answer to the first COMMIT was lost, or a stage is recorded once more after a kill."""
    lease, dataset_id = _lease(database, add_job)
    model_id = _model(database, dataset_id=dataset_id, calibration=OLD)
    model = MODEL | {"id": model_id, "backbone": "another", "image_size": 8}
    for _ in range(2):
        _record(database, lease, "erm", model=model)
    row = _row(database, model_id)
    assert (row.backbone, row.image_size, row.calibration) == ("small_cnn", 28, OLD)
    assert job_of(lease.job_id).models == {"erm": model_id}
    with database.read() as session:
        assert jobs.using_model(session, model_id) == [lease.job_id]
