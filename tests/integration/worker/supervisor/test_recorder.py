"""What a worker writes of its own job, while others change theirs."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import select

from core.queries import datasets, jobs, leases, registry
from core.queries.leases import Lease, LeaseLost
from core.session import Database
from core.tables import TrashRow
from masktune.contract.vocabulary import DatasetState, JobKind, JobState
from tests.integration.core import queue
from tests.integration.core.locks import while_it_waits
from tests.integration.worker.conftest import AddJob, JobOf
from tests.support.rows import model_row
from tests.support.stage_results import CALIBRATION, stage_result
from worker.protocol import StageFinished
from worker.supervisor import recorder as records


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_job_ends_while_the_data_set_of_another_is_deleted(
    database: Database, add_job: AddJob, job_of: JobOf
) -> None:
    imported = job_of(add_job([], kind=JobKind.IMPORT))
    job_id = add_job([])
    with database.begin() as session:
        jobs.cancel(session, imported.id)
    lease = queue.claim(database)
    while_it_waits(
        database,
        lambda s: datasets.delete(s, str(imported.dataset_id)),
        lambda s: records.end(s, lease, JobState.SUCCEEDED),
    ).result()
    assert job_of(job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_worker_that_loses_its_lease_meanwhile_closes_no_data_set(
    database: Database, add_job: AddJob, job_of: JobOf
) -> None:
    job_id = add_job([], kind=JobKind.IMPORT)
    lease = queue.claim(database, lease_seconds=-1)
    message = StageFinished(result=stage_result("import", ready=False, classes=[]))
    with pytest.raises(LeaseLost):
        while_it_waits(
            database,
            lambda s: leases.requeue_expired(s, max_attempts=5, too_many={}),
            lambda s: records.record(s, lease, message),
        ).result()
    with database.read() as session:
        assert datasets.get(session, str(job_of(job_id).dataset_id)).state is DatasetState.IMPORTING


def _evaluating(database: Database, add_job: AddJob) -> Lease:
    """Of a job that was claimed."""
    add_job([], kind=JobKind.EVALUATE)
    return queue.claim(database)


def _evaluated(model_id: str, **metrics: dict[str, float]) -> StageFinished:
    return StageFinished(
        result=stage_result("evaluate", compared={"erm": model_id}, metrics={"erm": metrics})
    )


def _model(database: Database) -> str:
    row = model_row(metrics={"val": {"accuracy": 0.5}, "test": {"accuracy": 0.25}})
    with database.begin() as session:
        return registry.add(session, row).id


def _metrics(database: Database, model_id: str) -> dict[str, Any]:
    with database.read() as session:
        return registry.get(session, model_id).metrics


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_jobs_that_measure_a_model_at_once_lose_nothing(database: Database, add_job: AddJob) -> None:
    """What was measured on a split stays until that split is asked again."""
    model_id = _model(database)
    leases = [_evaluating(database, add_job) for _ in range(2)]
    while_it_waits(
        database,
        lambda s: records.record(s, leases[0], _evaluated(model_id, val={"accuracy": 1.0})),
        lambda s: records.record(s, leases[1], _evaluated(model_id, test={"accuracy": 1.0})),
    ).result()
    assert _metrics(database, model_id) == {"val": {"accuracy": 1.0}, "test": {"accuracy": 1.0}}


def _calibrated(model_id: str, calibration_id: str) -> StageFinished:
    calibration = CALIBRATION | {"id": calibration_id, "artifact": f"calibrations/{calibration_id}"}
    return StageFinished(result=stage_result("calibrate", calibrations={model_id: calibration}))


def _named_and_left(database: Database, model_id: str) -> tuple[str, list[str]]:
    """The calibration that the model names, and the keys that are to be deleted some time."""
    with database.read() as session:
        calibration = registry.get(session, model_id).calibration
        assert calibration is not None
        left = session.scalars(select(TrashRow.key).where(TrashRow.at > time.time() + 80_000))
        return calibration["artifact"], sorted(left)


def test_a_calibration_that_is_replaced_goes_some_time(database: Database, add_job: AddJob) -> None:
    """Not at once: a job that runs may have been told of it. And not when it is recorded once more."""
    model_id, leases = _model(database), [_evaluating(database, add_job) for _ in range(2)]
    for number in (0, 0, 1, 1):
        with database.begin() as session:
            records.record(session, leases[number], _calibrated(model_id, f"cal_{number}"))
    assert _named_and_left(database, model_id) == ("calibrations/cal_1", ["calibrations/cal_0"])
    with database.begin() as session:  # the answer to its first COMMIT was lost
        records.record(session, leases[0], _calibrated(model_id, "cal_0"))
    assert _named_and_left(database, model_id) == ("calibrations/cal_0", ["calibrations/cal_1"])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_of_two_calibrations_at_once_one_is_named_and_the_other_goes(
    database: Database, add_job: AddJob
) -> None:
    model_id, leases = _model(database), [_evaluating(database, add_job) for _ in range(2)]
    while_it_waits(
        database,
        lambda s: records.record(s, leases[0], _calibrated(model_id, "cal_0")),
        lambda s: records.record(s, leases[1], _calibrated(model_id, "cal_1")),
    ).result()
    assert _named_and_left(database, model_id) == ("calibrations/cal_1", ["calibrations/cal_0"])
