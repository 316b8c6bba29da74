"""`/models/{id}/risk-coverage`: the curve, its table, and the estimate for another mix."""

from __future__ import annotations

import json

import pytest

from app.selective.calibrations import FILE
from tests.integration.app.serving.conftest import World


def test_risk_coverage_has_areas_and_bounds_and_says_which_of_them_hold(world: World) -> None:
    body = world.client.get(f"/models/{world.model}/risk-coverage", params={"points": 20}).json()
    assert body["score_name"] == "max_softmax"
    assert 0 < body["augrc"] < body["aurc"] < 0.5
    coverages = [p["coverage"] for p in body["points"]]
    assert coverages == sorted(coverages)
    assert coverages[-1] == 1
    for point in body["points"]:
        assert point["band_low"] <= point["low"] <= point["risk"] <= point["high"] <= point["band_high"]
        assert point["n_errors"] <= point["n_answered"]
        assert 0 < point["threshold"] <= 1
    assert body["chosen_before_looking"] == "low, high"
    assert body["chosen_after_looking"] == "band_low, band_high"
    assert "after looking, only the band holds" in body["statement"]
    address = f"/models/{world.model}/risk-coverage"
    assert "did you mean points?" in world.client.get(address, params={"point": 3}).text
    product = world.client.get(address, params={"score": "product"}).json()
    assert product["score_name"] == "product"


def test_the_table_at_a_certificate(world: World) -> None:
    address = f"/models/{world.model}/risk-coverage"
    policy = {"max_risk": 0.3, "risk_confidence": 0.9}
    table = world.client.get(address, params=policy).json()["table"]
    assert (table["policy"], table["requested"], table["status"]) == ("max_risk", 0.3, "certified")
    assert (table["max_risk"], table["risk_confidence"]) == (0.3, 0.9)
    served = world.ask(**policy)["selection"]
    assert table["threshold"] == served["threshold"]
    for row in table["groups"]:
        assert (row["verdict"] == "bound_below") == (row["risk_upper"] <= 0.3)
    refusal = world.client.get(address, params={"coverage": 0.5, "max_risk": 0.1})
    assert (refusal.status_code, len(refusal.json()["errors"])) == (422, 2)
    assert world.client.get(address, params={"max_risk": 1}).status_code == 422


def inferred_groups(world: World) -> None:
    """Let the groups of the model's calibration be inferred ones of one class."""
    artifact = world.client.get(f"/models/{world.model}").json()["calibration"]["id"]
    key = f"calibrations/{artifact}"
    facts = json.loads((world.services.artifacts.folder(key) / FILE).read_text())
    names = "left · own pattern", "left · another pattern"
    groups = {score: dict(zip(names, of.values(), strict=True)) for score, of in facts["groups"].items()}
    facts |= {"groups": groups, "groups_inferred": True, "lacking": [names[1]]}
    with world.services.artifacts.writing(key) as folder:
        (folder / FILE).write_text(json.dumps(facts))


def test_the_curve_for_another_mix_is_an_estimate_beside_the_one_measured(fresh_world: World) -> None:
    inferred_groups(fresh_world)
    address = f"/models/{fresh_world.model}/risk-coverage"
    plain = fresh_world.client.get(address).json()
    assert (plain["mix"], plain["table"]["groups_inferred"]) == (None, True)
    mixed = fresh_world.client.get(address, params={"minority_share": 0.5}).json()
    mix = mixed.pop("mix")
    assert mixed | {"mix": None} == plain
    assert (mix["minority_share"], mix["n_lacking"], mix["n_rest"]) == (0.5, 20, 20)
    assert "50 % of each class lack its pattern" in mix["statement"]
    assert "not a certificate" in mix["statement"]
    for point, measured in zip(mix["points"], plain["points"], strict=True):  # half of the samples lack it
        assert point["threshold"] == measured["threshold"]
        assert point["coverage"] == pytest.approx(measured["coverage"])
        assert point["risk"] == pytest.approx(measured["risk"])
    lacking = fresh_world.client.get(address, params={"minority_share": 1, "coverage": 1}).json()
    assert lacking["mix"]["points"][-1]["risk"] == lacking["table"]["groups"][1]["risk"]


def test_another_mix_needs_inferred_groups_and_has_no_certificate(world: World) -> None:
    address = f"/models/{world.model}/risk-coverage"
    refused = world.client.get(address, params={"minority_share": 0.3})  # the groups are the data set's own
    assert refused.status_code == 409
    assert "does not tell images that lack the pattern" in refused.json()["detail"]
    refused = world.client.get(address, params={"minority_share": 0.3, "max_risk": 0.1})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "?max_risk")
    assert world.client.get(address, params={"minority_share": 1.5}).status_code == 422


def test_risk_coverage_needs_a_calibration(fresh_world: World) -> None:
    address = f"/models/{fresh_world.uncalibrated()}/risk-coverage"
    assert fresh_world.client.get(address).status_code == 409
