"""`/predict` and the curve with promises by class, and with prediction sets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.selective.calibrations import FILE
from core.queries import registry
from tests.integration.app.serving.conftest import CLASSES, SAMPLES, World, picture

PROMISES = {"max_class_risk": 0.3, "max_missed": 0.6, "risk_confidence": 0.9}


def rewrite_tables(world: World, **changes: Any) -> str:
    """A new model with the weights of `world.model`, whose calibration has these changes; its id."""
    id = world.uncalibrated()
    with world.services.database.begin() as session:
        calibration = registry.get(session, world.model).calibration
        assert calibration is not None
        raw = json.loads((world.services.artifacts.folder(calibration["artifact"]) / FILE).read_text())
        with world.services.artifacts.writing(f"calibrations/{id}") as folder:
            (folder / FILE).write_text(json.dumps({**raw, **changes}))
        registry.get(session, id).calibration = calibration | {"id": id, "artifact": f"calibrations/{id}"}
    return id


def tables(world: World) -> dict[str, Any]:
    with world.services.database.read() as session:
        calibration = registry.get(session, world.model).calibration
    assert calibration is not None
    raw: dict[str, Any] = json.loads(
        (world.services.artifacts.folder(calibration["artifact"]) / FILE).read_text()
    )
    return raw


def test_each_class_has_a_threshold_of_its_own_which_decides_its_answers(world: World) -> None:
    answers = [world.ask(sample=n, **PROMISES, set_coverage=0.5) for n in range(SAMPLES)]
    selection = answers[0]["selection"]
    assert (selection["policy"], selection["status"]) == ("by_class", "partly_certified")
    assert (selection["requested"], selection["threshold"]) == (0.3, None)
    rows = {(row["label"], row["statement"]): row for row in selection["promises"]}
    assert set(rows) == {(label, statement) for label in CLASSES for statement in ("risk", "missed")}
    assert {row["requested"] for (_, statement), row in rows.items() if statement == "risk"} == {0.3}
    assert [row["status"] for row in rows.values()].count("too_few") == 1  # what it never predicts
    least = {label: rows[label, "risk"]["threshold"] for label in CLASSES}
    decisions = set()
    for (prediction,) in (answer["predictions"] for answer in answers):
        likeliest, decision = prediction["candidates"][0]["label"], prediction["decision"]
        assert prediction["label"] == (likeliest if decision == "answer" else None)
        if abs(prediction["score"] - least[likeliest]) > 1e-6:  # the engine's own rounding
            assert (decision == "answer") == (prediction["score"] > least[likeliest])
            decisions.add(decision)
    assert decisions == {"answer", "abstain"}
    use = selection["calibration"]
    assert use["n_answered"] == sum(rows[label, "risk"]["n_answered"] for label in CLASSES)
    assert (use["risk_upper"], use["risk_confidence"]) == (0.3, 0.9)


def test_an_uploaded_image_is_decided_on_like_a_stored_one(world: World) -> None:
    query: dict[str, Any] = PROMISES | {"set_coverage": 0.8}
    stored = world.ask(sample=4, **query)
    posted = world.post(picture(4), **query).json()
    assert posted["selection"] == stored["selection"]
    assert posted["predictions"][0]["label"] == stored["predictions"][0]["label"]
    assert posted["predictions"][0]["labels"] == stored["predictions"][0]["labels"]


def test_max_missed_alone_answers_what_no_class_objects_to(world: World) -> None:
    selection = world.ask(max_missed=0.6, risk_confidence=0.9)["selection"]
    assert [row["statement"] for row in selection["promises"]] == ["missed"] * len(CLASSES)
    assert (selection["requested"], selection["calibration"]["risk_upper"]) == (None, 1.0)


def test_a_class_without_calibration_images_abstains_and_says_what_it_takes(fresh_world: World) -> None:
    raw = tables(fresh_world)
    (missing,) = raw["predicted"]["max_softmax"]  # the only class that this network predicts
    (other,) = {*CLASSES} - {missing}
    model = rewrite_tables(
        fresh_world,
        predicted={score: {other: by[missing]} for score, by in raw["predicted"].items()},
        classes={score: {other: by[other]} for score, by in raw["classes"].items()},
        true_log_probabilities=raw["true_log_probabilities"] | {missing: []},
    )
    query = PROMISES | {"set_coverage": 0.5, "model": model}
    answers = [fresh_world.ask(sample=n, **query) for n in range(SAMPLES)]
    selection = answers[0]["selection"]
    assert selection["status"] == "partly_certified"
    for row in selection["promises"]:
        if row["label"] == missing:
            assert (row["status"], row["threshold"], row["n"]) == ("too_few", None, 0)
            assert row["needed"] > 0
    lowest = selection["sets"].pop("lowest")
    assert (lowest["label"], lowest["coverage"] < 0.5) == (other, True)
    assert selection["sets"] == {"coverage": 0.5, "samples_at_least": 1, "always": [missing]}
    reasons = set()
    for (prediction,) in (answer["predictions"] for answer in answers):
        assert missing in prediction["labels"]
        reasons.add(prediction["abstain_reason"])
    assert reasons == {"no_certified_threshold"}
    refusal = fresh_world.client.get("/predict", params=fresh_world.query(**query, on_uncertified="error"))
    assert (refusal.status_code, refusal.json()["code"]) == (409, "not-certifiable")
    assert f"answers “{missing}” that are wrong (0 calibration samples; " in refusal.json()["detail"]
    assert refusal.json()["selection"]["promises"] == selection["promises"]


def test_an_uncalibrated_model_has_neither(fresh_world: World) -> None:
    model = fresh_world.uncalibrated()
    for query in ({"max_missed": 0.3}, {"set_coverage": 0.9}, {"set_coverage": 0.9, "min_score": 0.5}):
        refusal = fresh_world.client.get("/predict", params=fresh_world.query(model=model, **query))
        assert refusal.status_code == 409, query


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ({"max_class_risk": 0.1, "max_risk": 0.1}, ["?max_risk", "?max_class_risk"]),
        ({"max_missed": 0.1, "coverage": 0.9}, ["?coverage", "?max_missed"]),
        (
            {"max_missed": 0.1, "max_class_risk": 0.1, "min_score": 0.5},
            ["?max_class_risk", "?max_missed", "?min_score"],
        ),
        ({"max_class_risk": 0}, ["?max_class_risk"]),
        ({"max_missed": 1}, ["?max_missed"]),
        ({"max_missed": "left:0.1"}, ["?max_missed"]),
        ({"max_class_risk": 0.1, "risk_confidence": 0.4}, ["?risk_confidence"]),
        ({"set_coverage": 1}, ["?set_coverage"]),
        ({"set_coverage": 0}, ["?set_coverage"]),
        ({"set_coverage": 0.9, "risk_confidence": 0.9}, ["?risk_confidence"]),
    ],
)
def test_a_wrong_wish_is_422(world: World, query: dict[str, Any], pointers: list[str]) -> None:
    refusal = world.client.get("/predict", params=world.query(**query))
    assert refusal.status_code == 422
    assert [error["pointer"] for error in refusal.json()["errors"]] == pointers


def test_the_sets_go_with_any_policy_and_are_there_where_the_model_abstains(world: World) -> None:
    for policy in ({}, {"coverage": 0.1}, {"min_score": 1.0}, {"max_risk": 1e-4}, PROMISES):
        for n in range(0, SAMPLES, 9):
            (prediction,) = world.ask(sample=n, set_coverage=0.9, **policy)["predictions"]
            order = [candidate["label"] for candidate in prediction["candidates"]]
            assert prediction["labels"] == [label for label in order if label in prediction["labels"]]
    plain = world.ask()
    assert (plain["selection"]["sets"], plain["predictions"][0]["labels"]) == (None, None)


def test_the_sets_cover_the_samples_that_they_were_calibrated_on(world: World) -> None:
    covered = dict.fromkeys(CLASSES, 0)
    for n in range(SAMPLES):
        true = CLASSES[n % 2]
        covered[true] += true in world.ask(sample=n, set_coverage=0.8)["predictions"][0]["labels"]
    # The one class that is predicted is in every set. Of the other's 20, the rank is ⌈21 · 0.8⌉ = 17, and the
    # engine may round the sample of that rank below itself.
    assert sorted(covered.values()) in ([16, 20], [17, 20])


def test_the_curve_has_the_promises_of_a_prediction(world: World) -> None:
    address = f"/models/{world.model}/risk-coverage"
    curve = world.client.get(address, params=PROMISES).json()
    assert curve["promises"] == world.ask(**PROMISES)["selection"]["promises"]
    for query in ({"coverage": 0.9}, {"max_risk": 0.1}, {"minority_share": 0.2}):
        assert world.client.get(address, params=PROMISES | query).status_code == 422


def test_a_group_that_is_too_small_says_how_many_more_images_it_takes(world: World) -> None:
    address = f"/models/{world.model}/risk-coverage"
    policy = {"max_risk": 0.05, "risk_confidence": 0.95}
    rows = world.client.get(address, params=policy).json()["table"]["groups"]
    for row in rows:
        assert (row["verdict"] == "bound_below") == (row["needed"] is None)
        if row["verdict"] == "too_few":  # without an error, 59 answers show 5 % at 95 %
            assert row["needed"] == pytest.approx((59 - row["n_answered"]) / row["coverage"], abs=1)
    assert {row["verdict"] for row in rows} == {"too_few"}
