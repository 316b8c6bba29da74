"""`/models/{id}/drift` and the model's metrics: uploads are counted, stored samples are not."""

from __future__ import annotations

import io
import shutil
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.main import create_app
from app.selective.calibrations import FILE
from core.queries import registry, webhooks
from core.tables import WebhookRow
from masktune.contract.ids import new_id
from tests.integration.app.conftest import LOCAL
from tests.integration.app.serving.conftest import SAMPLES, World, picture


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
    webhook = WebhookRow(id=new_id("whk"), url="http://a", events=["model.drifted"], secret="whsec_")
    with world.services.database.begin() as session:
        webhooks.add(session, webhook)
    before = _drift(world)
    assert (before["status"], before["served"]["inputs"], before["since"]) == ("too_few", 0, None)
    assert before["certificate_trusted"] is None  # nobody could know
    world.ask(sample=1)  # a look at a stored sample is no deployment
    assert _drift(world)["served"]["inputs"] == 0

    like = [picture(number) for number in range(SAMPLES)]
    decided = _upload(world, like, coverage=0.5)["predictions"]
    few = _drift(world)
    assert (few["status"], few["look"], few["open_inputs"]) == ("too_few", None, SAMPLES)
    assert f"has {SAMPLES} of the {few['window_inputs']}" in few["statement"]
    _upload(world, like, coverage=0.5)
    quiet = _drift(world)
    answered = 2 * sum(p["decision"] == "answer" for p in decided)
    assert quiet["served"]["inputs"] == quiet["look"]["inputs"] == 2 * SAMPLES
    assert quiet["served"]["answered"] == answered == SAMPLES
    assert quiet["served"]["abstained"] == {
        "below_threshold": 2 * SAMPLES - answered,
        "no_certified_threshold": 0,
        "unlike_training": 0,
    }
    assert quiet["since"].endswith(":00:00.000Z")
    assert (quiet["status"], quiet["certificate_trusted"]) == ("no_sign_of_drift", True)
    assert quiet["open_inputs"] == 0
    # The very samples of the split, each of which stands there 25 times: their shares are the same.
    assert {t["name"] for t in quiet["tests"]} == {"surest_50", "surest_80", "surest_95", "disagreement"}
    for test in quiet["tests"]:
        assert test["deployed"]["share"] == pytest.approx(test["calibration"]["share"])
        assert test["p_adjusted"] == 1

    for level in range(3):  # whatever was asked for, and by which score, the same is watched
        _upload(world, [_grey(level)] * 60, max_risk=1e-4, score="product")
    loud = _drift(world, days=1)
    assert loud["served"]["inputs"] == 2 * SAMPLES + 180
    assert loud["served"]["abstained"]["no_certified_threshold"] == 180
    assert (loud["status"], loud["certificate_trusted"]) == ("drifted", False)
    assert "should no longer be trusted" in loud["statement"]
    assert any(test["drifted"] and test["p_adjusted"] <= loud["look"]["level"] for test in loud["tests"])

    (message,) = world.client.get(f"/webhooks/{webhook.id}/deliveries").json()["data"]
    assert (message["type"], message["data"]["id"]) == ("model.drifted", world.model)

    metrics = world.client.get("/metrics").text
    assert f'masktune_predictions_total{{model="{world.model}",outcome="answered"}} 40.0' in metrics
    assert f'{{model="{world.model}",outcome="no_certified_threshold"}} 180.0' in metrics
    assert f'masktune_pair_predictions_total{{agree="true",model="{world.model}"}}' in metrics


PROMISE = {"max_risk": 0.05, "risk_confidence": 0.95}


def _usual(world: World, times: int) -> dict[str, Any]:
    """Send the samples of the split, so many times, and see what became of it; return the last selection."""
    for _ in range(times):
        selection = _upload(world, [picture(number) for number in range(SAMPLES)], **PROMISE)["selection"]
        _drift(world)
    assert selection["status"] == "certified"
    found: dict[str, Any] = selection
    return found


def _unusual(world: World) -> None:
    for level in range(5):
        _upload(world, [_grey(level)] * 60, **PROMISE)


def _acknowledge(world: World) -> Any:
    return world.client.post(f"/models/{world.model}/drift/acknowledge")


def _calibrate_anew(world: World) -> None:
    """As a job does: the model's row names another calibration."""
    artifacts, id = world.services.artifacts, new_id("cal")
    with world.services.database.begin() as session:
        row = registry.get(session, world.model, lock=True)
        assert row.calibration is not None
        with artifacts.writing(f"calibrations/{id}") as folder:
            shutil.copy(artifacts.folder(row.calibration["artifact"]) / FILE, folder)
        row.calibration = row.calibration | {"id": id, "artifact": f"calibrations/{id}"}


def test_drift_stays_found_until_it_is_acknowledged(fresh_world: World) -> None:
    world = fresh_world
    assert _acknowledge(world).status_code == 409
    before = _usual(world, 3)["drift"]
    assert before["status"] in ("no_sign_of_drift", "too_few")
    _unusual(world)
    assert _drift(world)["status"] == "drifted"
    after = _usual(world, 9)  # 360 inputs like the split
    found = after["drift"]
    assert (found["status"], found["acknowledged_at"]) == ("drifted", None)
    assert _drift(world)["found_at"] == found["found_at"]
    assert _drift(world)["open_inputs"] == 0
    for address in (f"/models/{world.model}", "/models"):
        body = world.client.get(address).json()
        (model,) = [one for one in body.get("data", [body]) if one["id"] == world.model]
        assert model["drift"] == found
    world.client.put("/aliases/production", json={"model": world.model})
    assert [alias["drift"] for alias in world.client.get("/aliases").json()["data"]] == [found]
    with TestClient(create_app(world.services.settings), LOCAL) as other:  # also after a restart
        answer = other.get("/predict", params=world.query(**PROMISE)).json()
        assert answer["selection"]["drift"] == found

    acknowledged = _acknowledge(world)
    assert acknowledged.status_code == 200
    assert (acknowledged.json()["status"], acknowledged.json()["tests"]) == ("too_few", [])
    assert "was acknowledged on" in acknowledged.json()["statement"]
    assert _acknowledge(world).json() == acknowledged.json()  # again: nothing changes
    (entry, *_) = world.client.get("/audit", params={"object": world.model}).json()["data"]
    assert entry["action"] == "acknowledge_drift"
    usual = _usual(world, 4)["drift"]
    assert usual["status"] == "no_sign_of_drift"
    assert usual["acknowledged_at"] == acknowledged.json()["acknowledged_at"]
    _unusual(world)
    assert _drift(world)["status"] == "drifted"  # an acknowledgement silences nothing for later


def test_a_new_calibration_ends_what_was_found_under_the_old_one(fresh_world: World) -> None:
    world = fresh_world
    _unusual(world)
    assert _drift(world)["status"] == "drifted"
    _calibrate_anew(world)
    fresh = {"status": "too_few", "found_at": None, "acknowledged_at": None, "acknowledged_by": None}
    assert world.ask(**PROMISE)["selection"]["drift"] == fresh
    assert (_drift(world)["look"], _drift(world)["open_inputs"]) == (None, 0)
    assert _acknowledge(world).status_code == 409
    assert _usual(world, 4)["drift"]["status"] == "no_sign_of_drift"
    _unusual(world)
    assert _drift(world)["status"] == "drifted"


def test_drift_needs_a_calibration_and_a_window(fresh_world: World) -> None:
    world, bare = fresh_world, fresh_world.uncalibrated()
    assert world.client.get(f"/models/{bare}/drift").status_code == 409
    assert world.client.post(f"/models/{bare}/drift/acknowledge").status_code == 409
    assert world.client.get(f"/models/{bare}").json()["drift"] is None
    assert world.ask(model=bare)["selection"]["drift"] is None
    assert world.client.get(f"/models/{new_id('mdl')}/drift").status_code == 404
    for days in (0, 91, "x"):
        assert world.client.get(f"/models/{world.model}/drift", params={"days": days}).status_code == 422
