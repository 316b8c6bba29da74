"""`masktune jobs compare`."""

from __future__ import annotations

import json

from tests.support.answers import JOB
from tests.support.reports import report
from tests.unit.masktune.cli.conftest import Service


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
