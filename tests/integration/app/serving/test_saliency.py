"""`/saliency`: every method, as numbers and as pictures."""

from __future__ import annotations

import base64
import io
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from masktune.contract.serving.predictions import View
from models.saliency import METHODS
from tests.integration.app.serving.conftest import CLASSES, World, picture

VIEWS = get_args(View)


def _query(world: World, **more: Any) -> dict[str, Any]:
    return {"model": world.model, "dataset": world.dataset, "sample": 1} | more


def _opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map(world: World, method: str) -> None:
    answer = world.client.get("/saliency", params=_query(world, method=method))
    assert answer.status_code == 200, answer.text
    (image,) = answer.json()["images"]
    heat = np.array(image["map"])
    assert heat.shape == tuple(image["size"])
    assert np.isfinite(heat).all()
    assert (heat >= 0).all()


def test_the_answer_has_all_pictures_and_the_jobs_own_rule(world: World) -> None:
    body = world.client.get("/saliency", params=_query(world)).json()
    assert (body["model"], body["method"], body["sigmas"], body["share"]) == (
        world.model,
        "xgradcam",
        1.5,
        None,
    )
    (image,) = body["images"]
    assert image["label"] == image["target"]
    sizes = {_opened(image[view]).size for view in VIEWS}
    assert len(sizes) == 1  # layers fit the image
    assert min(sizes.pop()) >= 224
    assert 0 <= image["masked_share"] < 0.5
    wider = world.client.get("/saliency", params=_query(world, sigmas=0)).json()["images"][0]
    assert wider["masked_share"] > image["masked_share"]


@pytest.mark.parametrize("view", VIEWS)
def test_a_png_is_the_picture_of_the_answer(world: World, view: str) -> None:
    png = world.client.get("/saliency", params=_query(world, format="png", view=view))
    by_accept = world.client.get(
        "/saliency", params=_query(world, view=view), headers={"Accept": "image/png"}
    )
    uri = world.client.get("/saliency", params=_query(world)).json()["images"][0][view]
    assert png.headers["content-type"] == "image/png"
    assert png.content == by_accept.content == base64.b64decode(uri.split(",", 1)[1])


def test_a_class_can_be_named(world: World) -> None:
    for target in CLASSES:
        (image,) = world.client.get("/saliency", params=_query(world, target=target)).json()["images"]
        assert image["target"] == target
    refusal = world.client.get("/saliency", params=_query(world, target="middle"))
    assert (refusal.status_code, refusal.json()["errors"][0]["pointer"]) == (422, "?target")


def test_uploads_are_explained_in_order(world: World) -> None:
    files = [("file", (f"{n}.png", picture(n))) for n in (1, 2)]
    images = world.client.post("/saliency", params={"model": world.model}, files=files).json()["images"]
    stored = world.client.get("/saliency", params=_query(world)).json()["images"][0]
    assert len(images) == 2
    np.testing.assert_allclose(images[0]["map"], stored["map"], rtol=1e-4, atol=1e-6)


def test_invalid_policy_requests_are_422(world: World) -> None:
    ask, files = world.client.post, [("file", (f"{n}.png", picture(n))) for n in range(9)]
    model = {"model": world.model}
    two_as_png = ask("/saliency", params=model | {"format": "png"}, files=files[:2])
    unknown = ask("/saliency", params=model | {"method": "tealeaves"}, files=files[:1])
    slow = ask("/saliency", params=model | {"method": "fullgrad"}, files=files)
    misspelt = ask("/saliency", params=model | {"methd": "gradcam"}, files=files[:1])
    assert [r.status_code for r in (two_as_png, unknown, slow, misspelt)] == [422] * 4
    assert "xgradcam" in unknown.json()["detail"]
    assert [r.json()["errors"][0]["pointer"] for r in (two_as_png, unknown, slow)] == [
        "?format",
        "?method",
        "?method",
    ]
