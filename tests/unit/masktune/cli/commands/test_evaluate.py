"""`masktune evaluate`: from test images to what they say of a job's models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.answers import DATASET, JOB, LIMITS
from tests.support.reports import report
from tests.unit.masktune.cli.conftest import Service

EVALUATE = JOB | {"id": "job_2", "kind": "evaluate"}


@pytest.fixture
def judging(service: Service) -> Service:
    """A service that imports one data set and judges job_1 on it."""
    step = {"step": "use_model", "arm": "masktune", "model": "mdl_2"}
    judged = {
        "job": "job_1",
        "dataset": "ds_2",
        "recommended": "masktune",
        "breaks_pattern": True,
        "left_out": {"images": 1, "same_image": 1, "paths": ["owl/7.png"]},
        "outcome": "confirmed",
        "most": 5000,
    }
    recommendation = {"arm": "masktune", "model": "mdl_2", "reason": "new_images", "next": [step]}
    service.answers |= {
        "GET /limits": (200, LIMITS),
        "POST /datasets": (202, DATASET | {"state": "importing", "job": None}),
        "GET /datasets/ds_1": (200, DATASET),
        "POST /jobs/evaluate": (202, EVALUATE | {"state": "queued"}),
        "GET /jobs/job_2": (200, EVALUATE),
        "GET /jobs/job_2/report": (200, report() | {"recommendation": recommendation, "judged_job": judged}),
    }
    return service


def _started(service: Service) -> list[object]:
    return [json.loads(body) for asked, body in service.asked if asked == "POST /jobs/evaluate"]


def test_an_archive_becomes_test_images_that_judge_the_job(judging: Service, tmp_path: Path) -> None:
    (tmp_path / "owls.zip").write_bytes(b"PK\x03\x04")
    ended = judging.masktune("evaluate", "job_1", str(tmp_path / "owls.zip"), "--breaks-pattern")
    assert ended.exit_code == 0, ended.output
    (uploaded,) = [body for asked, body in judging.asked if asked == "POST /datasets"]
    assert b'{"split": "test"}' in uploaded
    assert _started(judging) == [{"job": "job_1", "dataset": "ds_1", "breaks_pattern": True}]
    assert "1 image was left out, for they or their subjects trained the models: owl/7.png." in ended.stdout
    assert "Job job_1 recommends it, and these images" in ended.stdout


def test_a_data_set_that_is_there_judges_as_it_is(judging: Service) -> None:
    ended = judging.masktune("evaluate", "job_1", "ds_1", "--json")
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["judged_job"]["outcome"] == "confirmed"
    assert _started(judging) == [{"job": "job_1", "dataset": "ds_1", "breaks_pattern": False}]
    assert all(asked != "POST /datasets" for asked, _ in judging.asked)
