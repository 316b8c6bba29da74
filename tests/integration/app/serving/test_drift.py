"""`/models/{id}/drift` and the model's metrics: uploads are counted, stored samples are not."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.main import create_app
from core.queries import registry
from core.tables import ModelRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm
from tests.integration.app.conftest import LOCAL
from tests.integration.app.serving.conftest import CLASSES, SAMPLES, World, picture

PNG = {"Content-Type": "image/png"}


def _upload(world: World, images: list[bytes], **query: Any) -> dict[str, Any]:
    files = [("file", (f"{n}.png", image, "image/png")) for n, image in enumerate(images)]
    answer = world.client.post("/predict", params={"model": world.model} | query, files=files)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def _drift(world: World, **query: Any) -> dict[str, Any]:
    answer = world.client.get(f"/models/{world.model}/drift", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def _grey(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((28, 28, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_inputs_like_the_split_show_no_drift_and_others_do(fresh_world: World) -> None:
    world = fresh_world
    before = _drift(world)
    assert (before["status"], before["served"]["inputs"], before["since"]) == ("too_few", 0, None)
    assert before["certificate_trusted"] is None  # nobody could know
    world.ask(sample=1)  # a look at a stored sample is no deployment
    assert _drift(world)["served"]["inputs"] == 0

    like = [picture(number) for number in range(SAMPLES)]
    decided = _upload(world, like, coverage=0.5)["predictions"]
    quiet = _drift(world)
    answered = sum(p["decision"] == "answer" for p in decided)
    assert quiet["served"]["inputs"] == SAMPLES
    assert quiet["served"]["answered"] == answered == SAMPLES / 2
    assert quiet["served"]["abstained"] == {
        "below_threshold": SAMPLES - answered,
        "no_certified_threshold": 0,
    }
    assert quiet["since"].endswith(":00:00.000Z")
    assert (quiet["status"], quiet["certificate_trusted"]) == ("no_sign_of_drift", True)
    # The very samples of the split, each of which stands there 25 times: their shares are the same.
    assert {t["name"] for t in quiet["tests"]} == {"surest_50", "surest_80", "surest_95", "disagreement"}
    for test in quiet["tests"]:
        assert test["deployed"]["share"] == pytest.approx(test["calibration"]["share"])
        assert test["p_adjusted"] == 1

    for level in range(3):  # whatever was asked for, and by which score, the same is watched
        _upload(world, [_grey(level)] * 60, max_risk=1e-4, score="product")
    loud = _drift(world, days=1)
    assert loud["served"]["inputs"] == SAMPLES + 180
    assert loud["served"]["abstained"]["no_certified_threshold"] == 180
    assert (loud["status"], loud["certificate_trusted"]) == ("drifted", False)
    assert "should no longer be trusted" in loud["statement"]
    assert any(test["drifted"] and test["p_adjusted"] <= loud["alpha"] for test in loud["tests"])

    metrics = world.client.get("/metrics").text
    assert f'masktune_predictions_total{{model="{world.model}",outcome="answered"}} 20.0' in metrics
    assert f'{{model="{world.model}",outcome="no_certified_threshold"}} 180.0' in metrics
    assert f'masktune_pair_predictions_total{{agree="true",model="{world.model}"}}' in metrics


def test_the_images_of_a_subject_are_one_input_of_the_tests(fresh_world: World) -> None:
    world, images = fresh_world, [picture(number) for number in range(SAMPLES)]
    for _ in range(2):
        _upload(world, images, subject="patient 7")
    _upload(world, images[:1])
    report = _drift(world)
    assert (report["served"]["inputs"], report["served"]["independent"]) == (2 * SAMPLES + 1, 2)
    assert {test["deployed"]["n"] for test in report["tests"]} == {2}
    assert "2 independent inputs" in report["statement"]
    stored = {"model": world.model, "dataset": world.dataset, "sample": "0", "subject": "patient 7"}
    assert world.client.get("/predict", params=stored).status_code == 422  # it would count for nothing


def test_the_counts_of_another_replica_are_in_it_and_outlive_that(fresh_world: World) -> None:
    world = fresh_world
    _upload(world, [picture(0)])
    with TestClient(create_app(world.services.settings), LOCAL) as other:
        answer = other.post("/predict", params={"model": world.model}, content=picture(1), headers=PNG)
        assert answer.status_code == 200, answer.text
    assert _drift(world)["served"]["inputs"] == 2


def test_drift_needs_a_calibration_and_a_window(fresh_world: World) -> None:
    world, bare = fresh_world, new_id("mdl")
    with world.services.database.begin() as session:
        artifact = registry.get(session, world.model).artifact
        fields = {"backbone": "small_cnn", "classes": CLASSES, "image_size": 28, "artifact": artifact}
        registry.add(session, ModelRow(id=bare, arm=Arm.IMPORTED, **fields))
    assert world.client.get(f"/models/{bare}/drift").status_code == 409
    assert world.client.get(f"/models/{new_id('mdl')}/drift").status_code == 404
    for days in (0, 91, "x"):
        assert world.client.get(f"/models/{world.model}/drift", params={"days": days}).status_code == 422
