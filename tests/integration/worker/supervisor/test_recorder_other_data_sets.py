"""What a job finds out about a model of another data set stays with the job, apart from its evaluation."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

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
from tests.support.stage_results import CALIBRATION, EVALUATION, MODEL, PATTERN_JUDGE, stage_result
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


def test_an_evaluation_stays_with_the_model_whatever_data_set_it_is_on(
    database: Database, add_job: AddJob
) -> None:
    earlier = {"job_0": EVALUATION | {"job": "job_0"}}
    lease, _ = _lease(database, add_job)
    model_id = _model(database, dataset_id="ds_other", evaluations=earlier)
    for accuracy in (0.7, 0.8):  # the stage is recorded once more after a kill
        _record(
            database,
            lease,
            "evaluate",
            compared={"erm": model_id, "masktune": new_id("mdl")},
            metrics={"erm": FIGURES, "masktune": FIGURES},
            evaluations={arm: EVALUATION | {"accuracy": accuracy} for arm in ("erm", "masktune")},
        )
    added = {lease.job_id: EVALUATION | {"accuracy": 0.8, "job": lease.job_id}}
    assert _row(database, model_id).evaluations == earlier | added


def test_a_result_of_version_0_1_0_has_no_evaluation(database: Database, add_job: AddJob) -> None:
    lease, dataset_id = _lease(database, add_job)
    model_id = _model(database, dataset_id=dataset_id)
    _record(database, lease, "evaluate", compared={"erm": model_id}, metrics={"erm": FIGURES})
    assert _row(database, model_id).evaluations == {}


class StoredWith(NamedTuple):
    """What is stored with a model, in this column, by this stage, in this field of its result."""

    column: str
    stage: str
    field: str
    old: dict[str, Any]
    new: dict[str, Any]


STORED = (
    StoredWith("calibration", "calibrate", "calibrations", OLD, NEW),
    StoredWith("pattern_judge", "infer_groups", "judges", OLD_JUDGE, NEW_JUDGE),
)


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored.column)
@pytest.mark.parametrize(
    ("whose", "before", "after", "left"),
    [
        ("own", "old", "new", "old"),
        ("own", None, "new", None),
        ("other", "old", "old", "new"),
        ("other", None, "new", None),
        ("nobody's", "old", "new", "old"),
    ],
    ids=[
        "its own replaces",
        "its own is the first",
        "another's is left",
        "another's is better than none",
        "that of a model of no data set replaces",
    ],
)
def test_what_is_stored_with_a_model_is_replaced_by_that_of_its_own_data_set(
    database: Database,
    add_job: AddJob,
    stored: StoredWith,
    whose: str,
    before: str | None,
    after: str,
    left: str | None,
) -> None:
    lease, dataset_id = _lease(database, add_job)
    owner = {"own": dataset_id, "other": "ds_other", "nobody's": None}[whose]
    first = getattr(stored, before) if before else None
    model_id = _model(database, dataset_id=owner, **{stored.column: first})
    for _ in range(2):  # the answer to the first COMMIT was lost
        by_model = {stored.field: {model_id: stored.new}}
        _record(database, lease, stored.stage, artifact=stored.new["artifact"], **by_model)
    assert getattr(_row(database, model_id), stored.column) == getattr(stored, after)
    assert _left(database) == ([getattr(stored, left)["artifact"]] if left else [])


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
