"""`/predict` of images that are unlike the training images, with and without a policy, by both engines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from app.inference.engines import graph_store
from app.inference.engines.torch import TorchEngine
from app.inference.images import to_square
from app.inference.types import Upload
from core.queries import registry
from models.data.images.limits import ImageLimits
from models.export import load_model
from models.selective import NEIGHBOURS_FILE, CalibrationTable, TrainingNeighbours
from models.types import Floats32
from tests.integration.app.serving.conftest import SAMPLES, World, furnished, picture
from tests.integration.app.serving.reject_option.test_by_class import rewrite_tables, tables
from tests.support.graphs import exported, store

POLICIES: list[dict[str, Any]] = [
    {"coverage": 0.9},
    {"max_risk": 0.4, "risk_confidence": 0.9},
    {"min_score": 1e-6},
    {"max_class_risk": 0.9, "risk_confidence": 0.5},
]
LIKE = 20
"""Of the samples, the first; the others are further away than any of them."""


def features(world: World, model: str) -> Floats32:
    """The last layer's inputs of every sample."""
    network, _ = load_model(world.services.artifacts.folder(f"models/{world.model}"))
    squares = [to_square(Upload(picture(n)), 28, ImageLimits(), None) for n in range(SAMPLES)]
    scores = TorchEngine(network, None, torch.device("cpu")).run(np.stack(squares), None, features=True)
    assert scores.features is not None
    return scores.features


def add_model(world: World) -> tuple[str, np.ndarray[Any, np.dtype[np.bool_]]]:
    """A model with the weights of `world.model` that can tell; which samples are unlike its "training
    images", the first ten."""
    whole = tables(world)["scores"]
    id = rewrite_tables(world, unlike_answered=whole)
    values = features(world, id)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    neighbours = TrainingNeighbours(unit[:10].astype(np.float16).astype(np.float32), 0.0)
    distances = neighbours.distances(values)
    middle = float(np.sort(distances)[LIKE - 1 : LIKE + 1].mean())
    neighbours = TrainingNeighbours(neighbours.vectors, middle)
    neighbours.save(world.services.artifacts.folder(f"calibrations/{id}") / NEIGHBOURS_FILE)
    with world.services.database.begin() as session:
        row = registry.get(session, id)
        assert row.calibration is not None
        row.calibration = row.calibration | {"unlike_threshold": middle}
    return id, neighbours.unlike(values)


@pytest.fixture(scope="module", params=["torch", "onnxruntime"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, str, Any]]:
    """A front whose engine is this one, a model, and which samples are unlike."""
    engine = "auto" if request.param == "onnxruntime" else "torch"
    with furnished(tmp_path_factory.mktemp("data"), engine=engine) as world:
        model, unlike = add_model(world)
        if engine == "auto":
            graph = exported(tmp_path_factory).read_bytes()
            store(world.services.artifacts, graph_store.key(model), graph)
        yield world, model, unlike
        assert world.services.inference.loaded[request.param]


@pytest.mark.parametrize("policy", POLICIES)
def test_with_a_policy_a_strange_image_abstains(
    served: tuple[World, str, Any], policy: dict[str, Any]
) -> None:
    world, model, unlike = served
    assert unlike.sum() == SAMPLES - LIKE
    for explain in (False, True):
        for number in (*range(0, SAMPLES, 7), int(unlike.argmax())):
            (prediction,) = world.ask(model=model, sample=number, explain=explain, **policy)["predictions"]
            strange = prediction["unlike_training"]
            assert strange["unlike"] is (strange["distance"] > strange["threshold"]) is bool(unlike[number])
            assert (prediction["abstain_reason"] == "unlike_training") is bool(unlike[number])
            if unlike[number]:
                assert (prediction["decision"], prediction["label"]) == ("abstain", None)
                assert prediction["candidates"][0]["probability"] == pytest.approx(prediction["score"])


def test_without_a_policy_every_image_is_answered_and_told(served: tuple[World, str, Any]) -> None:
    world, model, unlike = served
    for number in range(0, SAMPLES, 5):
        (prediction,) = world.ask(model=model, sample=number)["predictions"]
        assert (prediction["decision"], prediction["abstain_reason"]) == ("answer", None)
        assert prediction["unlike_training"]["unlike"] is bool(unlike[number])
        (stored,) = world.ask(model=world.model, sample=number)["predictions"]
        assert stored["unlike_training"] is None, "a calibration without neighbours goes on as it was"
    assert world.client.get(f"/models/{model}").json()["calibration"]["unlike_threshold"] > 0
    assert world.client.get(f"/models/{world.model}").json()["calibration"]["unlike_threshold"] is None


def test_a_posted_image_is_told_and_counted(served: tuple[World, str, Any]) -> None:
    world, model, unlike = served
    far, near = int(unlike.argmax()), int(unlike.argmin())
    for number in (far, near):
        answer = world.client.post(
            "/predict",
            params={"model": model, "coverage": 0.9},
            content=picture(number),
            headers={"Content-Type": "image/png"},
        ).json()
        assert answer["predictions"][0]["unlike_training"]["unlike"] is bool(unlike[number])
    served_counts = world.client.get(f"/models/{model}/drift").json()["served"]
    assert served_counts["abstained"]["unlike_training"] == 1
    outcome = f'masktune_predictions_total{{model="{model}",outcome="unlike_training"}} 1.0'
    assert outcome in world.client.get("/metrics").text


def test_a_damaged_calibration_is_told(fresh_world: World) -> None:
    model, _ = add_model(fresh_world)
    file = fresh_world.services.artifacts.folder(f"calibrations/{model}") / NEIGHBOURS_FILE
    file.write_bytes(b"no archive")
    answer = fresh_world.client.get("/predict", params=fresh_world.query(model=model))
    assert answer.status_code == 503
    assert "is damaged: neighbours.safetensors holds no training neighbours" in answer.json()["detail"]
    assert "calibrate it anew" in answer.json()["detail"]
    file.unlink()
    answer = fresh_world.client.get("/predict", params=fresh_world.query(model=model))
    assert answer.status_code == 503
    assert "cannot be read" in answer.json()["detail"]


def test_thresholds_in_an_onnx_file_are_of_scores_alone(fresh_world: World) -> None:
    """Whoever runs the file has no training images to compare with."""
    whole = tables(fresh_world)["scores"]
    table = CalibrationTable.from_json(whole["max_softmax"])
    fewer = table.from_threshold(float(table.thresholds[len(table.thresholds) // 2])).to_json()
    model = rewrite_tables(fresh_world, scores=whole | {"max_softmax": fewer}, unlike_answered=whole)
    artifacts = fresh_world.services.artifacts
    by_model = []
    for id in (model, fresh_world.model):
        store(artifacts, graph_store.key(id), b"")
        content = fresh_world.client.get(f"/models/{id}/download", params={"format": "onnx"}).content
        (thresholds,) = (
            json.loads(entry.value)
            for entry in ModelProto.FromString(content).metadata_props
            if entry.key == "masktune.thresholds"
        )
        by_model.append(thresholds)
    assert by_model[0] == by_model[1]
    assert by_model[0]["coverage=0.9"] is not None
