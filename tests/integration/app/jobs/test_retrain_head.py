"""`POST /jobs/retrain_head`: what is resolved, and what is refused before anything is computed."""

from __future__ import annotations

from typing import Any

from core.tables import DatasetRow
from tests.integration.app.conftest import Front
from tests.integration.app.jobs.test_jobs import inputs_of, refused, start


def grouped(front: Front, dataset_id: str, *, missing: int = 0) -> None:
    """Give all training samples a group, but for so many."""
    with front.services.database.begin() as session:
        row = session.get_one(DatasetRow, dataset_id)
        train = row.summary["splits"]["train"]
        known = train | {"groups": {"left on the left": train["count"] - missing}}
        row.summary = row.summary | {"splits": row.summary["splits"] | {"train": known}}


def test_it_is_resolved_in_full(front: Front) -> None:
    dataset = front.dataset()
    model = front.model(dataset)
    body = start(front, "retrain_head", model=model, head={"rounds": 1}, seed=4).json()
    assert (body["kind"], body["dataset"]) == ("retrain_head", dataset)
    assert body["inputs"] == {"model": model, "mask_set": None, "image_answers": None}
    params = body["params"]
    assert (params["groups"], params["seed"]) == ("auto", 4)
    assert (params["head"]["rounds"], params["head"]["folds"], params["control"]) == (1, 5, True)
    assert set(inputs_of(front, body)["model_ids"]) == {"retrained", "retrained_control"}


FAULTY: list[tuple[dict[str, Any], str]] = [
    ({"groups": "labels"}, "/groups"),  # the data set has none
    ({"groups": "astrology"}, "/groups"),
    ({"epochs": 3}, "/epochs"),
    ({"seed": -1}, "/seed"),
    ({"head": {"threshold": 1}}, "/head/threshold"),
    ({"head": {"penalties": []}}, "/head/penalties"),
    ({"head": {"penalties": [1.0, 0.0]}}, "/head/penalties/1"),
    ({"head": {"folds": 1}}, "/head/folds"),
]


def test_faulty_fields(front: Front) -> None:
    model = front.model(front.dataset())
    for fields, pointer in FAULTY:
        refused(start(front, "retrain_head", model=model, **fields), 422, "invalid-input", pointer)
    assert front.client.get("/jobs").json()["data"] == []


def test_given_groups_must_be_those_of_every_training_sample(front: Front) -> None:
    dataset = front.dataset()
    model = front.model(dataset)
    grouped(front, dataset, missing=1)
    answer = start(front, "retrain_head", model=model, groups="labels")
    refused(answer, 422, "invalid-input", "/groups")
    detail = answer.json()["errors"][0]["detail"]
    assert "1 of 6 training samples" in detail
    assert "groups=early_stages" in detail
    grouped(front, dataset)
    assert start(front, "retrain_head", model=model, groups="labels").status_code == 202


def test_a_mask_set_of_a_retrained_model_takes_the_training_of_its_backbone(front: Front) -> None:
    dataset = front.dataset()
    trained = front.model(dataset, job_id=start(front, "erm", dataset=dataset, epochs=7).json()["id"])
    retrained = front.model(dataset, job_id=start(front, "retrain_head", model=trained).json()["id"])
    params = start(front, "mask", model=retrained).json()["params"]
    assert (params["epochs"], params["backbone"]) == (7, "resnet32")
