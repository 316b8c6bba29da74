"""`/predict` over real networks: the reject option, the bodies it takes, and what it refuses."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.queries import datasets
from masktune.contract.ids import new_id
from tests.integration.app.serving.conftest import SAMPLES, TEMPERATURE, World, picture
from tests.support.rows import dataset_row


def test_without_a_policy_every_input_is_answered(world: World) -> None:
    body = world.ask(sample=3)
    (prediction,) = body["predictions"]
    assert body["model"] == world.model
    assert (prediction["decision"], prediction["abstain_reason"]) == ("answer", None)
    assert prediction["label"] == prediction["candidates"][0]["label"]
    assert prediction["score"] == pytest.approx(world.scores[3], abs=1e-6)
    assert sum(c["probability"] for c in prediction["candidates"]) == pytest.approx(1)
    assert body["selection"]["status"] == "none"
    assert body["selection"]["threshold"] is None
    assert prediction["saliency"] is None


def test_the_same_query_has_the_same_answer(world: World) -> None:
    query = world.query(sample=5, coverage=0.5, explain=True)
    first, second = (world.client.get("/predict", params=query).content for _ in range(2))
    assert first == second


def test_a_target_coverage_answers_that_share(world: World) -> None:
    answers = [world.ask(sample=n, coverage=0.4) for n in range(SAMPLES)]
    answered = sum(a["predictions"][0]["decision"] == "answer" for a in answers)
    selection = answers[0]["selection"]
    assert answered == pytest.approx(0.4 * SAMPLES, abs=1)
    for prediction in (answer["predictions"][0] for answer in answers):
        assert (prediction["label"] is None) == (prediction["decision"] == "abstain")
    assert (selection["policy"], selection["requested"], selection["status"]) == (
        "coverage",
        0.4,
        "target_coverage",
    )
    calibration = selection["calibration"]
    low, high = calibration["coverage_interval"]
    assert low <= 0.4 <= high
    assert calibration["n_answered"] == pytest.approx(calibration["coverage"] * calibration["n"])
    assert (calibration["created_at"], calibration["temperature"]) == (
        "2023-11-14T22:13:20.000Z",
        TEMPERATURE,
    )


def test_a_certified_risk_names_its_calibration(world: World) -> None:
    selection = world.ask(max_risk=0.05, risk_confidence=0.95)["selection"]
    assert selection["status"] == "certified"
    assert 0 < selection["threshold"] <= 1
    assert selection["calibration"]["risk"] <= 0.05
    assert selection["calibration"]["risk_upper"] == 0.05
    assert selection["calibration"]["risk_confidence"] == 0.95


def test_a_risk_that_cannot_be_certified_is_409_when_asked_for(world: World) -> None:
    query = world.query(max_risk=1e-4, on_uncertified="error")
    refusal = world.client.get("/predict", params=query)
    assert refusal.status_code == 409
    assert refusal.headers["content-type"] == "application/problem+json"
    assert refusal.json()["type"].endswith("not-certifiable")
    assert refusal.json()["selection"]["samples_at_least"] > 1000
    assert "that takes about" in refusal.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        {"coverage": 0.5, "max_risk": 0.1},
        {"coverage": 0.5, "min_score": 0.5},
        {"coverage": 0},
        {"coverage": 1.01},
        {"max_risk": 1},
        {"max_risk": 0.1, "risk_confidence": 1},
        {"max_risk": 0.1, "risk_confidence": 0.4},
        {"risk_confidence": 0.9},
        {"min_score": "nan"},
        {"max_rsik": 0.1},
        {"top_k": 0},
        {"score": "logits"},
        {"on_uncertified": "guess"},
        {"sample": -1},
        {"model": "../etc"},
    ],
)
def test_a_wrong_query_is_422_with_a_pointer(world: World, query: dict[str, Any]) -> None:
    refusal = world.client.get("/predict", params=world.query(**query))
    assert refusal.status_code == 422
    assert refusal.json()["errors"][0]["pointer"].startswith("?")
    assert ("did you mean max_risk?" in refusal.text) == ("max_rsik" in query)


def test_agreement_comes_from_the_pair(world: World) -> None:
    agreement = world.ask(sample=1)["predictions"][0]["agreement"]
    erm = world.ask(sample=1, model=world.erm)["predictions"][0]
    assert agreement["erm"] == erm["label"]
    assert agreement["agree"] == (agreement["erm"] == agreement["model"])
    assert erm["agreement"] == {"erm": None, "model": None, "agree": None}


def test_pair_scores_need_a_pair(world: World) -> None:
    for name in ("product", "minimum"):
        assert world.ask(score=name, coverage=0.5)["selection"]["score_name"] == name
    refusal = world.client.get("/predict", params=world.query(model=world.erm, score="product"))
    assert (refusal.status_code, refusal.json()["errors"][0]["pointer"]) == (422, "?score")


def test_explain_adds_the_map_of_the_same_pass(world: World) -> None:
    plain, explained = world.ask(sample=2), world.ask(sample=2, explain=True)
    (prediction,) = explained["predictions"]
    saliency = prediction.pop("saliency")
    assert prediction["score"] == pytest.approx(plain["predictions"][0]["score"], abs=1e-6)
    assert saliency["target"] == prediction["label"]
    assert np.array(saliency["map"]).shape == tuple(saliency["size"])
    assert np.min(saliency["map"]) >= 0
    kind, data = saliency["overlay"].split(",", 1)
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size[0] >= 224


def test_what_is_not_there_is_404(world: World) -> None:
    for query in (
        world.query(model="champion"),
        world.query(model=new_id("mdl")),
        world.query(dataset=new_id("ds")),
        world.query(dataset="ds_nonsense"),
        world.query(sample=SAMPLES),
    ):
        assert world.client.get("/predict", params=query).status_code == 404, query


def test_a_model_of_another_data_set_is_refused(world: World) -> None:
    other = new_id("ds")
    with world.services.database.begin() as session:
        datasets.add(
            session,
            dataset_row(id=other, artifact=f"datasets/{world.dataset}", classes=["up", "down", "side"]),
        )
    refusal = world.client.get("/predict", params=world.query(dataset=other))
    assert (refusal.status_code, refusal.json()["type"]) == (422, "/problems/model-of-another-dataset")


def test_an_uncalibrated_model_answers_but_promises_nothing(world: World) -> None:
    bare = world.uncalibrated()
    assert world.ask(model=bare)["selection"]["calibration"] is None
    assert world.ask(model=bare, min_score=0.9)["selection"]["status"] == "raw_threshold"
    for query in (world.query(model=bare, coverage=0.9), world.query(model=bare, max_risk=0.1)):
        refusal = world.client.get("/predict", params=query)
        assert refusal.status_code == 409
        assert "evaluate it on a data set" in refusal.json()["detail"]


@pytest.mark.parametrize("path", ["/predict", "/saliency", "/saliency?format=png"])
def test_no_cache_keeps_an_answer(world: World, path: str) -> None:
    """It may show an image, and the next one may come from another model of the same name."""
    path, _, view = path.partition("?format=")
    query = {"format": view} if view else {}
    stored = world.client.get(path, params=world.query(**query))
    for answer in (stored, world.post(picture(0), path, **query)):
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "private, no-store"
