"""`masktune fix`: from a folder to the model to use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.answers import DATASET, FAILED, JOB, LIMITS
from tests.support.reports import report
from tests.unit.masktune.cli.conftest import Service

MITIGATE = JOB | {"kind": "mitigate"}


@pytest.fixture
def mitigating(service: Service) -> Service:
    """A service that imports one data set and mitigates on it."""
    step = {"step": "use_model", "arm": "masktune", "model": "mdl_2"}
    recommendation = {"arm": "masktune", "model": "mdl_2", "reason": "masktune_helped", "next": [step]}
    service.answers |= {
        "GET /limits": (200, LIMITS),
        "POST /datasets": (202, DATASET | {"state": "importing", "job": None}),
        "GET /datasets/ds_1": (200, DATASET),
        "POST /jobs/mitigate": (202, MITIGATE | {"state": "queued"}),
        "GET /jobs/job_1": (200, MITIGATE),
        "GET /jobs/job_1/report": (200, report() | {"recommendation": recommendation}),
    }
    return service


def _started(service: Service) -> list[object]:
    return [json.loads(body) for asked, body in service.asked if asked == "POST /jobs/mitigate"]


def test_a_folder_is_uploaded_and_ends_in_a_verdict_and_the_next_step(
    mitigating: Service, tmp_path: Path
) -> None:
    (tmp_path / "photos" / "owl").mkdir(parents=True)
    (tmp_path / "photos" / "owl" / "1.png").write_bytes(b"an image")
    ended = mitigating.masktune("fix", str(tmp_path / "photos"))
    assert ended.exit_code == 0, ended.output
    assert _started(mitigating) == [{"dataset": "ds_1"}]
    assert "x.png: it ends too early" in ended.stdout  # what the import rejected
    assert "MaskTune helped." in ended.stdout
    assert "Command: masktune models alias production mdl_2" in ended.stdout
    assert "masktune jobs report job_1 --open" in ended.stdout


def test_a_data_set_that_is_there_is_not_uploaded_again(mitigating: Service) -> None:
    named = ["--name", "night", "--seed", "3", "--set", "head.gate=open"]
    ended = mitigating.masktune("fix", "ds_1", *named, "--json")
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["recommendation"]["model"] == "mdl_2"
    fields = {"dataset": "ds_1", "name": "night", "seed": 3, "head": {"gate": "open"}}
    assert _started(mitigating) == [fields]
    assert all(asked != "POST /datasets" for asked, _ in mitigating.asked)


def test_options_say_how_a_folder_is_read(mitigating: Service, tmp_path: Path) -> None:
    (tmp_path / "owls.zip").write_bytes(b"PK\x03\x04")
    ended = mitigating.masktune(
        "fix", str(tmp_path / "owls.zip"), "--subject-pattern", "{subject}_*", "--label", "species"
    )
    assert ended.exit_code == 0, ended.output
    (uploaded,) = [body for asked, body in mitigating.asked if asked == "POST /datasets"]
    assert b'{"subject": "{subject}_*", "label": "species"}' in uploaded


def test_a_data_set_that_is_there_is_read_another_way_as_a_new_one(mitigating: Service) -> None:
    ended = mitigating.masktune("fix", "ds_1", "--new-splits", "--group", "meta:site")
    assert ended.exit_code == 0, ended.output
    (asked,) = [json.loads(body) for asked, body in mitigating.asked if asked == "POST /datasets"]
    assert (asked["name"], asked["source"]) == (DATASET["name"], "dataset:ds_1")
    assert asked["options"] == {"new_splits": True, "group": "meta:site"}


def test_an_import_that_fails_starts_no_job(mitigating: Service) -> None:
    problem = {"code": "one_class", "detail": "there is one class only"}
    invalid = DATASET | {"state": "invalid", "report": {"problems": [problem]}}
    mitigating.answers["GET /datasets/ds_1"] = (200, invalid)
    ended = mitigating.masktune("fix", "builtin:digits")
    assert (ended.exit_code, _started(mitigating)) == (4, [])
    assert "there is one class only" in ended.stderr


def test_a_job_that_fails_is_told_by_the_exit_code(mitigating: Service) -> None:
    mitigating.answers["GET /jobs/job_1"] = (200, FAILED | {"kind": "mitigate"})
    ended = mitigating.masktune("fix", "ds_1")
    assert (ended.exit_code, ended.stderr) == (4, "masktune: job job_1 failed: the disk is full\n")


def test_a_path_that_is_not_there_is_a_usage_error(mitigating: Service) -> None:
    assert mitigating.masktune("fix", "nowhere/").exit_code == 2
    assert mitigating.asked == []
    mitigating.answers["GET /datasets"] = (200, {"data": []})
    ended = mitigating.masktune("fix", "nowhere")
    said = "masktune: there is no file or folder nowhere here, and no data set has this name\n"
    assert (ended.exit_code, ended.stderr) == (2, said)


def test_a_data_set_that_is_there_goes_by_its_name_too(mitigating: Service) -> None:
    mitigating.answers["GET /datasets"] = (200, {"data": [DATASET]})
    ended = mitigating.masktune("fix", "birds", "--json")
    assert (ended.exit_code, _started(mitigating)) == (0, [{"dataset": "ds_1"}])
