"""`masktune fix`: from a folder to the model to use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from masktune.contract.vocabulary import Arm
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


FROZEN, TRIAL, AT_START, AT_END = "job_2", "job_3", "2025-11-03T09:30:00.000Z", "2025-11-03T09:31:30.000Z"
ESTIMATE = {"seconds": 300.0, "source": "measured", "stages": [], "memory_bytes": 1, "disk_bytes": 1}


def _planned(kind: str, *, frozen: bool) -> dict[str, object]:
    params = {"backbone": "timm/tf_efficientnet_lite0" if frozen else "small_cnn", "freeze_backbone": frozen}
    return {"kind": kind, "dataset": "ds_1", "params": params, "estimate": ESTIMATE}


def _plain_training(service: Service, job: str, share: float) -> dict[str, object]:
    """A plain training that ended with this share of right answers, of 400."""
    ended = JOB | {"id": job, "kind": "erm", "started_at": AT_START, "ended_at": AT_END}
    service.answers[f"GET /jobs/{job}"] = 200, ended
    service.answers[f"GET /jobs/{job}/report"] = 200, report(right={Arm.ERM: (share,) * 4})
    return ended | {"state": "queued", "ended_at": None}


def _asked(service: Service, kind: str) -> list[object]:
    return [json.loads(body) for asked, body in service.asked if asked == f"POST /jobs/{kind}"]


@pytest.mark.parametrize(("small", "goes_on"), [(0.85, True), (0.64, False), (0.45, False)])
def test_the_small_network_goes_on_only_if_its_interval_is_above_that_of_the_frozen_one(
    mitigating: Service, small: float, goes_on: bool
) -> None:
    trained = iter(
        [
            _planned("erm", frozen=True),
            _plain_training(mitigating, FROZEN, 0.6),
            _plain_training(mitigating, TRIAL, small),
        ]
    )
    planned = iter([_planned("mitigate", frozen=not goes_on), MITIGATE | {"state": "queued"}])
    mitigating.by_headers |= {
        "POST /jobs/erm": lambda _: next(trained),
        "POST /jobs/mitigate": lambda _: next(planned),
    }
    ended = mitigating.masktune("fix", "ds_1", "--compare-networks", "--seed", "3", "--set", "seeds=2")
    assert ended.exit_code == 0, ended.output
    chosen = {"preset": "small-network"}
    trial = {"dataset": "ds_1", "seed": 3, **chosen, "max_train_samples": 2000}
    assert _asked(mitigating, "erm") == [{"dataset": "ds_1", "seed": 3}, trial]
    fields = {"dataset": "ds_1", "seed": 3, "seeds": 2} | (chosen if goes_on else {})
    assert _asked(mitigating, "mitigate") == _asked(mitigating, "mitigate?dry_run=true") == [fields]
    assert "timm/tf_efficientnet_lite0, frozen" in ended.stdout
    assert ended.stdout.count("1 min 30 s") == 2
    assert "about 5 min 0 s (measured)" in ended.stdout
    assert ("does not lie above" in ended.stdout) is not goes_on


def test_where_the_default_is_a_small_network_there_is_nothing_to_compare(mitigating: Service) -> None:
    mitigating.answers["POST /jobs/erm"] = 200, _planned("erm", frozen=False)
    ended = mitigating.masktune("fix", "ds_1", "--compare-networks")
    assert ended.exit_code == 0, ended.output
    assert (_asked(mitigating, "erm"), _asked(mitigating, "mitigate")) == ([], [{"dataset": "ds_1"}])
    assert "trains all layers of small_cnn" in ended.stdout


def test_a_network_that_is_named_is_not_compared(mitigating: Service) -> None:
    ended = mitigating.masktune("fix", "ds_1", "--compare-networks", "--set", "backbone=resnet18")
    assert (ended.exit_code, mitigating.asked) == (2, [])
    assert "leave out --set backbone" in ended.stderr
