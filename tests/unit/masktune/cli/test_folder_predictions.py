"""`masktune predict` of a folder, an archive or an address: an import, a job, a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from masktune.cli.folder_predictions import is_many_images
from tests.support.answers import DATASET, JOB, MODEL
from tests.unit.masktune.cli.conftest import Service

COUNTS = {
    "rows": 7,
    "answered": 3,
    "abstained": 3,
    "unreadable": 1,
    "labels": {"a": 2, "b": 1},
    "abstain_reasons": {"below_threshold": 2, "new_reason": 1},
    "coverage": 0.5,
    "drift": {"status": "drifted", "inputs": 6, "level": 0.01, "tests": []},
}
PROMISE: dict[str, Any] = {
    "status": "broken", "answers": 257, "errors": 73, "max_risk": 0.05, "risk_confidence": 0.99
}  # fmt: skip
PREDICTED: dict[str, Any] = JOB | {"kind": "predict", "params": {"output": "csv"}, "counts": COUNTS}


@pytest.fixture
def predicting(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service that predicts an address."""
    monkeypatch.chdir(tmp_path)
    service.answers = {
        "GET /models/best": (200, MODEL),
        "GET /models/mdl_2": (200, MODEL | {"promise": PROMISE}),
        "POST /datasets": (202, DATASET | {"state": "importing", "job": None}),
        "GET /datasets/ds_1": (200, DATASET),
        "POST /jobs/predict": (202, PREDICTED | {"state": "queued"}),
        "GET /jobs/job_1": (200, PREDICTED),
        "GET /jobs/job_1/predictions": (200, b"row,path\n"),
    }
    return service


def test_an_address_becomes_a_data_set_without_labels_and_a_table(
    predicting: Service, tmp_path: Path
) -> None:
    result = predicting.masktune(
        "predict", "s3://clinic/today/", "-m", "best", "--coverage", "0.9", "--least-sure-first"
    )
    assert result.exit_code == 0, result.output
    sent = {asked.partition("?")[0]: body for asked, body in predicting.asked}
    assert [asked for asked in sent if asked.startswith("POST")] == ["POST /jobs/predict"]
    assert json.loads(sent["POST /jobs/predict"]) == {
        "model": "mdl_2", "source": "s3://clinic/today/", "split": "all", "output": "csv",
        "order": "least_sure", "coverage": 0.9,
    }  # fmt: skip
    assert (tmp_path / "job_1.csv").read_bytes() == b"row,path\n"
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    for line in ("answered 3", "a 2", "b 1", "abstained 3", "below the threshold 2", "new_reason 1"):
        assert line.split() in lines
    assert ["unreadable", "1"] in lines
    for sentence in (
        "50.0\u00a0% of the 6 readable images are answered; requested: 90\u00a0% of images like those",
        "6 independent images of this job were compared with the calibration split: they differ in",
        "The promise that at most 5\u00a0% of the answers are wrong is broken. Audit sample of 257 images",
    ):
        assert sentence in result.stdout
    assert "the predictions are in job_1.csv" in result.stdout


def test_a_folder_is_uploaded_and_imported_before_its_job(predicting: Service, tmp_path: Path) -> None:
    (tmp_path / "today").mkdir()
    (tmp_path / "today" / "1.png").write_bytes(b"png")
    result = predicting.masktune("predict", "today", "-m", "best")
    assert result.exit_code == 0, result.output
    sent = {asked.partition("?")[0]: body for asked, body in predicting.asked}
    assert [asked for asked in sent if asked.startswith("POST")] == ["POST /datasets", "POST /jobs/predict"]
    assert json.loads(sent["POST /jobs/predict"])["dataset"] == "ds_1"


@pytest.mark.parametrize(
    ("options", "name", "output"),
    [
        (["-o", "today.parquet"], "today.parquet", "parquet"),
        (["-o", "today.txt"], "today.txt", "csv"),
        (["--format", "parquet"], "job_1.parquet", "parquet"),
    ],
)
def test_the_file_and_its_format(
    predicting: Service, tmp_path: Path, options: list[str], name: str, output: str
) -> None:
    result = predicting.masktune("predict", "s3://clinic/today", "-m", "best", "--json", *options)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert PROMISE.items() <= printed.pop("promise").items()
    assert printed == {
        "dataset": "ds_1", "job": "job_1", "path": name, "counts": COUNTS, "requested_coverage": None,
    }  # fmt: skip
    assert (tmp_path / name).is_file()
    assert f'"output":"{output}"' in next(
        body.decode() for asked, body in predicting.asked if asked == "POST /jobs/predict"
    ).replace(" ", "")


def test_a_job_that_fails_leaves_no_file(predicting: Service, tmp_path: Path) -> None:
    error = {"title": "The job failed", "detail": "the disk is full"}
    predicting.answers["GET /jobs/job_1"] = (200, PREDICTED | {"state": "failed", "error": error})
    result = predicting.masktune("predict", "s3://clinic/today", "-m", "best")
    assert (result.exit_code, list(tmp_path.iterdir())) == (4, [])
    assert "the disk is full" in result.stderr


def test_nothing_is_uploaded_for_a_model_that_is_not_there(predicting: Service) -> None:
    del predicting.answers["GET /models/best"]
    assert predicting.masktune("predict", "s3://clinic/today", "-m", "best").exit_code == 1
    assert not any(asked.startswith("POST") for asked, _ in predicting.asked)


def test_what_is_a_data_set_and_what_an_image(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    many = [
        "a.zip",
        "a.tar.gz",
        "A.TGZ",
        "a.tar.zst",
        "paths.csv",
        "s3://a/b.png",
        str(tmp_path / "folder.png"),
    ]
    assert all(map(is_many_images, many))
    assert not any(map(is_many_images, ["a.png", "a.dcm", "scan", "a.zip.jpg"]))
