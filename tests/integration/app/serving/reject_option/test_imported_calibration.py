"""Version 0.1.0 imported models with a calibration of another service: they serve, nothing rests on it."""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import Any

import onnx
import pytest
from onnx.numpy_helper import to_array

from app.inference.engines import graph_store
from app.registry import service as models
from core.queries import registry
from masktune.contract.ids import new_id
from tests.integration.app.serving.conftest import SAMPLES, World
from tests.support.graphs import store

WHY = "was imported with a calibration of another service's images, which promises nothing here"
POLICIES: list[dict[str, Any]] = [
    {"max_risk": 0.05},
    {"max_class_risk": 0.3},
    {"coverage": 0.9},
    {"set_coverage": 0.9},
]


def _as_imported(world: World) -> None:
    with world.services.database.begin() as session:
        row = registry.get(session, world.model)
        assert row.calibration is not None
        calibration = row.calibration["id"]
        row.calibration = row.calibration | {"imported_from": new_id("mdl")}
        row.review_policy = {"enabled": True, "max_risk": 0.05, "risk_confidence": 0.95}
        row.drift = dict.fromkeys(("found_at", "acknowledged_at", "acknowledged_by"), None) | {
            "calibration": calibration,
            "status": "drifted",
        }


def test_it_answers_as_before(fresh_world: World) -> None:
    queries: list[dict[str, Any]] = [{}, {"score": "product"}, {"min_score": 0.6}]
    asked = [(query, sample) for query in queries for sample in range(0, SAMPLES, 7)]
    before = [fresh_world.ask(sample=sample, **query)["predictions"] for query, sample in asked]
    _as_imported(fresh_world)
    answers = [fresh_world.ask(sample=sample, **query) for query, sample in asked]
    assert [answer["predictions"] for answer in answers] == before
    assert {answer["selection"]["calibration"] for answer in answers} == {None}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: next(iter(policy)))
def test_what_would_rest_on_its_calibration_is_refused(fresh_world: World, policy: dict[str, Any]) -> None:
    world = fresh_world
    _as_imported(world)
    detail = f"model {world.model} {WHY}; evaluate it on a data set to make one"
    refused = world.client.get("/predict", params=world.query(**policy))
    assert (refused.status_code, refused.json()["detail"]) == (409, detail)
    (name,) = policy
    job = world.client.post("/jobs/predict", json={"model": world.model, "split": "all"} | policy)
    (fault,) = job.json()["errors"]
    assert (fault["pointer"], fault["code"], fault["detail"]) == (f"/{name}", "not-calibrated", detail)


def test_no_curve_drift_or_promise_is_shown_of_it(fresh_world: World) -> None:
    world = fresh_world
    _as_imported(world)
    model = f"/models/{world.model}"
    for path in (f"{model}/risk-coverage", f"{model}/drift"):
        refused = world.client.get(path)
        assert refused.status_code == 409
        assert WHY in refused.json()["detail"]
    described = world.client.get(model).json()
    assert (described["calibration"], described["drift"], described["promise"]) == (None, None, None)
    with world.services.database.read() as session:
        assert models.drift_state(registry.get(session, world.model)) is None
        assert registry.count_drifted(session) == 0


def test_a_graph_of_it_has_its_temperature_and_no_threshold(fresh_world: World) -> None:
    world = fresh_world
    with world.services.database.read() as session:
        calibration = registry.get(session, world.model).calibration
    assert calibration is not None
    _as_imported(world)
    store(world.services.artifacts, graph_store.key(world.model, "max_softmax"), b"")
    path = f"/models/{world.model}/download"
    query: dict[str, Any] = {"format": "bundle", "min_score": 0.7}
    download = world.client.get(path, params=query)
    assert download.status_code == 200, download.text
    with zipfile.ZipFile(BytesIO(download.content)) as bundle:
        graph = onnx.load_from_string(bundle.read("model.onnx")).graph
    (temperature,) = (to_array(one) for one in graph.initializer if one.name == "temperature")
    assert temperature == pytest.approx(calibration["temperature"])
    assert world.client.get(path, params={"format": "bundle", "max_risk": 0.05}).status_code == 409
