"""Review queues: which training images are nearest to an image, and when nobody is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.inference import Upload
from app.review_queue import queueing
from app.review_queue.queueing import DrawnImage, ReceivedImages
from core.queries import registry
from masktune.contract.ids import new_id
from masktune.contract.review_queue import NearestSample
from models.selective import NEIGHBOURS_FILE, TrainingNeighbours
from tests.integration.app.serving.conftest import CLASSES, World, picture
from tests.integration.app.serving.reviews import listed, send, switch_on
from tests.integration.app.serving.test_unlike import add_model

ABSTAIN = {"min_score": 1.0}


@pytest.fixture
def telling(fresh_world: World) -> World:
    """A front whose model can tell unlike inputs and has a review policy."""
    world = replace(fresh_world, model=add_model(fresh_world)[0])
    switch_on(world)
    return world


def _change_calibration(world: World, **fields: Any) -> None:
    with world.services.database.begin() as session:
        row = registry.get(session, world.model)
        assert row.calibration is not None
        row.calibration = row.calibration | fields


def test_a_review_names_the_nearest_training_images_and_their_classes(telling: World) -> None:
    numbers = (3, 8, 15, 30)  # the first two are themselves training images
    answer = send(telling, *numbers, **ABSTAIN)
    assert all("nearest" not in one for one in answer["predictions"])
    items = listed(telling)
    assert len(items) == len(numbers)
    for number, item in zip(numbers, items, strict=True):
        nearest = item["nearest"]
        similarities = [one["similarity"] for one in nearest]
        assert len(nearest) == 4
        assert similarities == sorted(similarities, reverse=True)
        for one in nearest:
            assert one["dataset"] == telling.dataset
            assert one["label"] == CLASSES[one["sample"] % 2]
        if number < 10:
            assert (nearest[0]["sample"], similarities[0]) == (number, pytest.approx(1, abs=1e-3))
        assert telling.client.get(f"/reviews/{item['id']}").json() == item
    handed = telling.client.post("/reviews/next").json()
    assert handed["nearest"] == items[0]["nearest"]


def test_once_the_data_set_is_deleted_nothing_is_named(telling: World) -> None:
    send(telling, 3, **ABSTAIN)
    assert listed(telling)[0]["nearest"]
    assert telling.client.delete(f"/datasets/{telling.dataset}").status_code == 204
    (item,) = listed(telling)
    answer = telling.client.post(f"/reviews/{item['id']}/answer", json={"outcome": "skip"})
    assert (item["nearest"], answer.status_code, answer.json()["nearest"]) == ([], 200, [])
    send(telling, 4, **ABSTAIN)
    assert [one["nearest"] for one in listed(telling)] == [[], []]


def _store(world: World, nearest: Callable[[], list[NearestSample]]) -> None:
    """As for an image on which the model abstained."""
    drawn = DrawnImage(0, None, {"decision": "abstain", "label": None}, nearest)
    received = ReceivedImages([Upload(picture(3))], None)
    queueing.store(world.services.database, world.model, [drawn], received)


def test_a_data_set_that_is_deleted_meanwhile_fails_no_prediction(telling: World) -> None:
    """Deleted after the image was drawn, before it is stored."""
    gone = NearestSample(dataset=new_id("ds"), sample=1, label="left", similarity=0.5)
    _store(telling, lambda: [gone])
    (item,) = listed(telling)
    assert (item["nearest"], item["state"]) == ([], "waiting")


def test_nothing_is_looked_for_unless_an_image_is_stored(telling: World) -> None:
    looked = list[str]()

    def nearest() -> list[NearestSample]:
        looked.append("here")
        return []

    _store(telling, nearest)
    _store(telling, nearest)  # a copy
    assert looked == ["here"]
    switch_on(telling, enabled=False)
    telling.client.delete(f"/models/{telling.model}/reviews")
    _store(telling, nearest)
    assert looked == ["here"]


@pytest.mark.parametrize("case", ["no vectors", "rows unknown", "imported"])
def test_a_model_that_does_not_know_its_training_images_names_none(telling: World, case: str) -> None:
    if case == "no vectors":
        _change_calibration(telling, unlike_threshold=None)
    elif case == "imported":  # its rows are of a data set elsewhere, whatever the file says
        _change_calibration(telling, imported_from=new_id("mdl"))
    else:
        file = telling.services.artifacts.folder(f"calibrations/{telling.model}") / NEIGHBOURS_FILE
        replace(TrainingNeighbours.load(file), samples=None).save(file)
    send(telling, 3, **ABSTAIN)
    assert [one["nearest"] for one in listed(telling)] == [[]]
