"""Models that are deleted while they are asked for: out of memory, here and at other replicas, and a 404."""

from __future__ import annotations

import shutil

import pytest
from sqlalchemy import delete

from app.inference import Pair, StoredNetwork
from core.errors import NotFound
from core.settings import Settings
from core.tables import ModelRow
from tests.integration.app.conftest import running
from tests.integration.app.serving.conftest import World, picture


def _pair(model: str) -> Pair:
    return Pair(StoredNetwork(model, f"models/{model}"), None)


def test_what_another_replica_deleted_leaves_the_memory_when_it_is_asked_for(fresh_world: World) -> None:
    world, here = fresh_world, fresh_world.services.settings
    with running(Settings(data_dir=here.data_dir, threads=1, engine="torch")) as other:
        asked = world.query(model=world.control)
        assert other.client.get("/predict", params=asked).status_code == 200
        assert other.client.get("/saliency", params=asked).status_code == 200
        assert other.services.inference.loaded == {"torch": 2}
        assert world.client.delete(f"/models/{world.control}").status_code == 204
        assert other.client.get("/predict", params=asked).status_code == 404
        assert other.services.inference.loaded == {}
        posted = other.client.post("/saliency", params={"model": world.control}, content=picture(1))
        assert posted.status_code == 415  # before anybody looks for the model
        kind = {"Content-Type": "image/png"}
        for path in ("/predict", "/saliency"):
            posted = other.client.post(
                path, params={"model": world.control}, content=picture(1), headers=kind
            )
            assert posted.status_code == 404


def test_a_model_without_a_row_is_not_kept_though_its_files_are_there(fresh_world: World) -> None:
    """Deleted between a request's plan and its load, or while it loads at a replica that is told nothing."""
    world = fresh_world
    with world.services.database.begin() as session:
        session.execute(delete(ModelRow).where(ModelRow.id == world.control))
    with pytest.raises(NotFound, match=world.control):
        world.services.inference.cache.begin(_pair(world.control)).result(20)
    assert world.services.inference.loaded == {}


def test_a_model_whose_files_are_half_deleted_is_not_called_damaged(fresh_world: World) -> None:
    world = fresh_world
    with world.services.database.begin() as session:
        session.execute(delete(ModelRow).where(ModelRow.id == world.control))
    (world.services.artifacts.folder(f"models/{world.control}") / "model.json").unlink()
    with pytest.raises(NotFound, match="was deleted"):
        world.services.inference.cache.begin(_pair(world.control)).result(20)


def test_a_calibration_that_goes_between_two_reads_is_read_again(fresh_world: World) -> None:
    """Its files are deleted after the commit, and a plan may have read the row before."""
    world = fresh_world
    with world.services.database.begin() as session:
        key = session.get_one(ModelRow, world.control).calibration
        assert key is not None
    shutil.rmtree(world.services.artifacts.folder(key["artifact"]))
    refused = world.client.get("/predict", params=world.query(model=world.control))
    assert refused.status_code == 503  # its row is there, its files are lost
    assert int(refused.headers["Retry-After"]) >= 1
    assert world.client.delete(f"/models/{world.control}").status_code == 204
    assert world.client.get("/predict", params=world.query(model=world.control)).status_code == 404
