"""`masktune jobs again` and `masktune jobs compare`."""

from __future__ import annotations

import json

import pytest

from tests.support.answers import JOB
from tests.support.reports import report
from tests.unit.masktune.cli.conftest import Service

REQUEST = {"dataset": "ds_1", "epochs": 15, "optimizer": {"learning_rate": 0.1}, "metadata": {"site": "Bern"}}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ([], {}),
        (["--set", "epochs=20"], {"epochs": 20}),
        (["--set", "optimizer.momentum=0.8"], {"optimizer": {"learning_rate": 0.1, "momentum": 0.8}}),
    ],
)
def test_a_job_is_started_again_with_other_fields(
    service: Service, options: list[str], changed: dict[str, object]
) -> None:
    service.answers["GET /jobs/job_1"] = (200, JOB | {"request": REQUEST})
    service.answers["POST /jobs/masktune"] = (202, JOB | {"id": "job_2"})
    done = service.masktune("jobs", "again", "job_1", *options)
    assert done.exit_code == 0, done.output
    assert json.loads(service.asked[-1][1]) == REQUEST | changed
    assert "job_2" in done.stdout


def test_a_job_that_no_request_started_is_not_started_again(service: Service) -> None:
    service.answers["GET /jobs/job_1"] = (200, JOB | {"kind": "import"})
    done = service.masktune("jobs", "again", "job_1")
    assert (done.exit_code, [asked for asked, _ in service.asked]) == (1, ["GET /jobs/job_1"])
    assert "masktune jobs start" in done.stderr


def test_jobs_are_compared(service: Service) -> None:
    metrics = {
        "erm": {"test": {"accuracy": 0.5, "worst_group_accuracy": 0.25}},
        "masktune": {"test": {"accuracy": 0.75, "worst_group_accuracy": 0.75}},
    }
    service.answers["GET /jobs/job_1"] = (200, JOB | {"metrics": metrics, "params": {"epochs": 15}})
    service.answers["GET /jobs/job_1/report"] = (200, report())
    service.answers["GET /jobs/job_2"] = (200, JOB | {"id": "job_2", "metrics": {}, "params": {"epochs": 9}})
    done = service.masktune("jobs", "compare", "job_1", "job_2", "job_1")
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["ds_1", "job_1", "masktune", "0.750", "+0.250", "–", "0.750", "+0.500", "400"] in rows
    assert ["epochs", "15", "9"] in rows
    assert len(service.asked) == 3
    printed = json.loads(service.masktune("jobs", "compare", "job_1", "job_2", "--json").stdout)
    assert printed["fields"] == {"epochs": {"job_1": 15, "job_2": 9}}
    assert [job["params"]["epochs"] for job in printed["jobs"]] == [15, 9]
