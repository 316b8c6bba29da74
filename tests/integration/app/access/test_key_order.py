"""A resource has the same bytes whichever database keeps it: its fields in the order of the contract, the
keys of its maps in that in which they were written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.queries import datasets, jobs, leases
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.vocabulary import EventType, JobKind, JobState
from tests.integration.app.conftest import Front

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

ARMS = ["erm", "masktune", "masktune_control"]
SPLITS = ["train", "val", "calibration", "test", "no_fg"]
GROUPS = ["no beard · right", "beard · right"]
"""In the data set's own order, which is not by name."""
FIGURES = {
    "accuracy": 0.9,
    "balanced_accuracy": 0.8,
    "worst_class_accuracy": 0.6,
    "worst_group_accuracy": 0.7,
    "train_weighted_accuracy": 0.5,
    "groups": {"place 10": 0.9, "place 2": 0.7},
}
PROBLEM = {
    "type": "/problems/job-failed",
    "code": "job-failed",
    "title": "The job failed",
    "status": 500,
    "detail": "no",
}


def backwards(value: Any) -> Any:
    """The same JSON, written the other way round."""
    if isinstance(value, dict):
        return {name: backwards(value[name]) for name in reversed(value)}
    return [backwards(one) for one in value] if isinstance(value, list) else value


def keys(value: Any) -> Any:
    """The keys of an object in their order, with those below them."""
    if isinstance(value, dict):
        return [(name, keys(below)) for name, below in value.items()]
    return [keys(one) for one in value] if isinstance(value, list) else None


@pytest.mark.parametrize("written", [lambda value: value, backwards], ids=["in order", "backwards"])
def test_a_data_set(front: Front, written: Any) -> None:
    dataset = front.dataset(classes=["right", "left"])
    classes, rejected = written({"left": 2, "right": 2}), written({"truncated": 2, "junk": 1})
    counts = {
        split: {
            "count": 4,
            "subjects": 0,
            "classes": {"left": 2, "right": 2},
            "groups": dict.fromkeys(GROUPS, 2),
        }
        for split in SPLITS
    }
    with front.services.database.begin() as session:
        row = datasets.get(session, dataset)
        row.classes = ["right", "left"]
        row.summary = row.summary | {"splits": written(counts), "groups": GROUPS, "rejected": rejected}
    answer = front.client.get(f"/datasets/{dataset}")
    body = json.loads(answer.text)
    assert list(body["splits"]) == SPLITS
    assert [group["name"] for group in body["groups"]] == GROUPS
    assert [list(group["splits"]) for group in body["groups"]] == [SPLITS] * 2
    assert list(body["report"]["classes"]) == SPLITS
    assert [list(of) for of in body["report"]["classes"].values()] == [list(classes)] * 5
    assert list(body["report"]["rejected_by_code"]) == list(rejected)
    listed = front.client.get("/datasets").json()["data"][0]
    assert keys(listed | {"report": None}) == keys(body | {"report": None})
    again = front.client.get(f"/datasets/{dataset}", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("written", [lambda value: value, backwards], ids=["in order", "backwards"])
def test_a_model(front: Front, written: Any) -> None:
    model = front.model(None, metrics=written({"val": FIGURES, "test": FIGURES}))
    body = json.loads(front.client.get(f"/models/{model}").text)
    figures = FIGURES | {"groups": written(FIGURES["groups"])}
    assert keys(body["metrics"]) == keys({"val": figures, "test": figures})


@pytest.mark.parametrize("written", [lambda value: value, backwards], ids=["in order", "backwards"])
def test_a_job_and_its_events(front: Front, written: Any) -> None:
    by_arm = {arm: {"val": FIGURES, "test": FIGURES} for arm in ARMS}
    params = Hyperparameters().to_json()
    job = front.job(JobKind.MASKTUNE)
    lease = front.claim()
    with front.services.database.begin() as session:
        row = jobs.get(session, job)
        row.params, row.models = written(params), written({arm: f"mdl_{arm}" for arm in ARMS})
        row.inputs = written({"model": "mdl_a", "mask_set": "job_a", "dataset": "ds_a"})
        session.flush()
        leases.set_metrics(session, lease, written(by_arm))
        leases.write_progress(session, lease, written({"fraction": 0.5, "stage": "erm"}), advanced=False)
        leases.end(session, lease, JobState.FAILED, error=written(PROBLEM))
    body = json.loads(front.client.get(f"/jobs/{job}").text)
    assert list(body["models"]) == list(written(dict.fromkeys(ARMS)))
    assert list(body["metrics"]) == list(body["models"])
    assert list(body["metrics"]["erm"]) == list(written({"val": 0, "test": 0}))
    figures = body["metrics"]["erm"]["test"]
    assert list(figures)[:3] == ["accuracy", "balanced_accuracy", "worst_class_accuracy"]
    assert figures == FIGURES
    assert list(figures["groups"]) == list(written(FIGURES["groups"]))
    assert keys(body["params"]) == keys(json.loads(json.dumps(params)))
    assert list(body["inputs"]) == ["model", "mask_set", "image_answers"]
    assert list(body["error"]) == [*PROBLEM, "instance", "errors"]
    events = json.loads(front.client.get(f"/jobs/{job}/events").text)["data"]
    by_type = {event["type"]: event["data"] for event in events}
    assert keys(by_type[EventType.METRICS]) == keys(body["metrics"])
    assert list(by_type[EventType.PROGRESS])[:2] == ["fraction", "stage"]
    assert list(by_type[EventType.STATE]) == ["state", "attempt", "reason", "error"]
    assert list(by_type[EventType.STATE]["error"]) == list(body["error"])
