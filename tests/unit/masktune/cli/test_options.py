"""Options that shape what is asked for, and where the answer goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from masktune.cli import completion
from tests.support.answers import ANSWER, DATASET, JOB, MODEL
from tests.unit.masktune.cli.conftest import Service

PREDICTED = JOB | {"kind": "predict", "params": {"output": "csv"}}


@pytest.mark.parametrize(
    ("output", "written"),
    [((), "job_1.csv"), (("-o", "mine.parquet"), "mine.parquet"), (("--output", "a.csv"), "a.csv")],
)
def test_predictions_are_written(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: tuple[str, ...], written: str
) -> None:
    monkeypatch.chdir(tmp_path)
    service.answers["GET /jobs/job_1"] = (200, PREDICTED)
    service.answers["GET /jobs/job_1/predictions"] = (200, b"row,path\n")
    result = service.masktune("jobs", "predictions", "job_1", *output)
    assert (result.exit_code, result.stdout) == (0, f"the predictions are in {written}\n"), result.output
    assert (tmp_path / written).read_bytes() == b"row,path\n"


def test_predictions_that_are_not_there_leave_no_file(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    service.answers["GET /jobs/job_1"] = (200, JOB)
    result = service.masktune("jobs", "predictions", "job_1")
    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])


@pytest.mark.parametrize("kind", ["predict", "masktune"])
def test_a_predict_job_that_was_watched_says_how_to_fetch_its_file(service: Service, kind: str) -> None:
    service.answers[f"POST /jobs/{kind}"] = (202, JOB | {"kind": kind, "state": "queued"})
    service.answers["GET /jobs/job_1"] = (200, JOB | {"kind": kind})
    result = service.masktune("jobs", "start", kind, "--watch")
    assert result.exit_code == 0, result.output
    assert ("masktune jobs predictions job_1" in result.stdout) == (kind == "predict")


def test_a_machine_that_watches_a_start_gets_the_job_as_it_ended(service: Service) -> None:
    """Its id and its models, which no event has."""
    service.answers["POST /jobs/masktune"] = (202, JOB | {"state": "queued", "models": {}})
    service.answers["GET /jobs/job_1"] = (200, JOB)
    result = service.masktune("jobs", "start", "masktune", "--watch", "--json")
    assert result.exit_code == 0, result.output
    job = json.loads(result.stdout)
    assert (job["id"], job["state"], job["models"]) == ("job_1", "succeeded", JOB["models"])
    service.answers["GET /jobs/job_1"] = (200, JOB | {"state": "failed"})
    result = service.masktune("jobs", "start", "masktune", "--watch", "--json")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (4, "failed")


def test_splits_and_arms_are_in_their_order_whatever_the_database_makes_of_it(service: Service) -> None:
    """PostgreSQL keeps the keys of an object by their length."""
    splits = {"val": 1, "test": 2, "train": 3, "calibration": 4}
    service.answers["GET /datasets/ds_1"] = (200, DATASET | {"splits": splits})
    assert "train 3, val 1, calibration 4, test 2" in service.masktune("datasets", "show", "ds_1").stdout
    metrics = {
        arm: {"test": {"accuracy": 0.5}, "val": {"accuracy": 1.0}} for arm in ("masktune_control", "masktune")
    }
    service.answers["GET /jobs/job_1"] = (200, JOB | {"metrics": metrics})
    said = service.masktune("jobs", "show", "job_1").stdout
    assert "val 1.000, test 0.500" in said
    assert said.index("accuracy masktune ") < said.index("accuracy masktune_control")


def test_a_job_that_waits_has_not_started(service: Service) -> None:
    queued = JOB | {"state": "queued", "created_at": "2025-11-03T09:30:00.000Z", "started_at": None}
    service.answers["GET /jobs/job_1"] = (200, queued)
    rows = [line.split() for line in service.masktune("jobs", "show", "job_1").stdout.splitlines()]
    told = {row[0]: row[1] for row in rows if len(row) > 1}
    assert (told["queued"], told["started"], told["ended"]) == ("2025-11-03", "–", "–")


def test_a_model_is_not_written_over_a_folder(service: Service, tmp_path: Path) -> None:
    result = service.masktune("models", "download", "best", "--output", str(tmp_path))
    assert (result.exit_code, service.asked) == (2, [])


@pytest.mark.parametrize("command", ["add", "upload"])
def test_a_seed_decides_the_splits(service: Service, tmp_path: Path, command: str) -> None:
    (tmp_path / "birds.zip").write_bytes(b"PK\x03\x04")
    service.answers["POST /datasets"] = (202, DATASET | {"state": "importing"})
    for what in ("builtin:digits", str(tmp_path / "birds.zip")):
        result = service.masktune("datasets", command, what, "--seed", "7", "--no-wait")
        assert result.exit_code == 0, result.output
    source, form = (body for asked, body in service.asked if asked == "POST /datasets")
    assert json.loads(source)["seed"] == 7
    assert b'name="seed"\r\n\r\n7\r\n' in form


@pytest.mark.parametrize("score", completion.SCORES)
def test_the_score_and_what_is_done_without_a_certificate(service: Service, score: str) -> None:
    service.answers["GET /predict"] = (200, ANSWER)
    asked = f"predict -m best --dataset ds_1 --sample 3 --max-risk 0.05 --score {score}"
    assert service.masktune(*asked.split(), "--on-uncertified", "error").exit_code == 0
    assert f"score={score}" in service.asked[0][0]
    assert "on_uncertified=error" in service.asked[0][0]
    assert service.masktune(*asked.split(), "--on-uncertified", "guess").exit_code == 2


def test_promises_by_class_and_label_sets_are_asked_for(service: Service) -> None:
    service.answers["GET /predict"] = (200, ANSWER)
    asked = (
        "predict -m best --dataset ds_1 --sample 3 --max-class-risk 0.1 --max-missed 0.2 --set-coverage 0.9"
    )
    assert service.masktune(*asked.split()).exit_code == 0
    for query in ("max_class_risk=0.1", "max_missed=0.2", "set_coverage=0.9"):
        assert query in service.asked[0][0]


@pytest.mark.parametrize(
    ("command", "asked", "entry"),
    [("datasets list", "GET /datasets", DATASET), ("models list", "GET /models", MODEL)],
)
def test_a_list_has_so_many_at_most(
    service: Service, command: str, asked: str, entry: dict[str, object]
) -> None:
    service.answers[asked] = (200, {"data": [entry | {"id": f"id_{n}"} for n in range(30)]})
    shown = json.loads(service.masktune(*command.split(), "--json", "--most", "3").stdout)
    assert [one["id"] for one in shown] == ["id_0", "id_1", "id_2"]
    assert "limit=3" in service.asked[0][0]
    assert len(json.loads(service.masktune(*command.split(), "--json").stdout)) == 20
    assert service.masktune(*command.split(), "--most", "0").exit_code == 2
