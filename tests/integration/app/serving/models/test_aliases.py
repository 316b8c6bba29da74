"""`/aliases`: moves with preconditions, a history, and the way back."""

from __future__ import annotations

import pytest

from masktune.contract.ids import new_id
from tests.integration.app.serving.conftest import World
from tests.support.waits import wait_until


def test_an_alias_is_made_moved_and_rolled_back(fresh_world: World) -> None:
    world, client = fresh_world, fresh_world.client
    made = client.put("/aliases/champion", json={"model": world.erm})
    assert (made.status_code, made.headers["location"]) == (201, "/aliases/champion")
    moved = client.put("/aliases/champion", json={"model": world.model})
    assert (moved.status_code, moved.json()["version"]) == (200, 2)
    again = client.put("/aliases/champion", json={"model": world.model})
    assert again.json()["version"] == 2  # it points there
    assert client.get("/models/champion").json()["id"] == world.model
    back = client.post("/aliases/champion/rollback").json()
    assert (back["model"], back["version"]) == (world.erm, 3)
    assert [(m["version"], m["model"]) for m in back["history"]] == [
        (3, world.erm),
        (2, world.model),
        (1, world.erm),
    ]
    to_two = client.post("/aliases/champion/rollback", json={"version": 2}).json()
    assert to_two["model"] == world.model
    assert client.get("/aliases").json()["data"][0]["name"] == "champion"


def test_preconditions(world: World) -> None:
    client = world.client
    body = {"model": world.model}
    assert client.put("/aliases/c", json=body, headers={"If-Match": '"x"'}).status_code == 412
    only_new = {"If-None-Match": "*"}
    assert client.put("/aliases/c", json=body, headers=only_new).status_code == 201
    assert client.put("/aliases/c", json=body, headers=only_new).status_code == 412
    etag = client.get("/aliases/c").headers["etag"]
    other = {"model": world.control}
    moved = client.put("/aliases/c", json=other, headers={"If-Match": etag})
    assert moved.status_code == 200
    assert moved.headers["etag"] == client.get("/aliases/c").headers["etag"]
    assert client.put("/aliases/c", json=body, headers={"If-Match": etag}).status_code == 412
    assert client.post("/aliases/c/rollback", headers={"If-Match": etag}).status_code == 412
    assert client.delete("/aliases/c", headers={"If-Match": etag}).status_code == 412
    assert client.get("/aliases/c").json()["model"] == world.control


def test_a_rollback_that_is_sent_twice_happens_once(world: World) -> None:
    client = world.client
    for model in (world.erm, world.model):
        client.put("/aliases/d", json={"model": model})
    answers = [client.post("/aliases/d/rollback", headers={"Idempotency-Key": "k"}).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert client.get("/aliases/d").json()["model"] == world.erm


def test_nothing_to_go_back_to(world: World) -> None:
    client = world.client
    assert client.post("/aliases/e/rollback").status_code == 404
    client.put("/aliases/e", json={"model": world.model})
    assert client.post("/aliases/e/rollback").status_code == 409
    assert client.post("/aliases/e/rollback", json={"version": 7}).status_code == 422


def test_removal_is_part_of_the_history(world: World) -> None:
    client = world.client
    client.put("/aliases/f", json={"model": world.model})
    assert client.delete("/aliases/f").status_code == 204
    assert client.get("/aliases/f").status_code == 404
    assert client.delete("/aliases/f").status_code == 404
    again = client.put("/aliases/f", json={"model": world.model})
    assert again.status_code == 201
    assert [m["model"] for m in again.json()["history"]] == [world.model, None, world.model]


@pytest.mark.parametrize("name", ["Champion", ".a", "a b", "mdl_x", "job_1", "x" * 65, "é"])
def test_names_that_an_alias_may_not_have(world: World, name: str) -> None:
    assert world.client.put(f"/aliases/{name}", json={"model": world.model}).status_code == 422


def test_an_alias_needs_a_model_that_is_there(world: World) -> None:
    for model in (new_id("mdl"), "nobody"):
        assert world.client.put("/aliases/b", json={"model": model}).status_code == 404
    assert world.client.put("/aliases/b", json={"model": world.model, "force": True}).status_code == 422
    assert world.client.get("/aliases/b").status_code == 404


def test_a_model_that_cannot_be_loaded_does_not_keep_an_alias_from_moving(
    fresh_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever moves it back from a broken one must not wait for either."""
    world, client = fresh_world, fresh_world.client
    for model in (world.erm, world.control):
        client.put("/aliases/a", json={"model": model})
    wait_until(lambda: world.services.inference.loaded == {"torch": 2})
    world.services.artifacts.delete(f"models/{world.model}")
    assert client.put("/aliases/a", json={"model": world.model}).status_code == 200
    assert f"model {world.model} was not loaded before" in caplog.text
    assert client.post("/aliases/a/rollback").json()["model"] == world.control


def test_nothing_is_loaded_for_a_move_that_is_refused(fresh_world: World) -> None:
    world, client = fresh_world, fresh_world.client
    body = {"model": world.model}
    assert client.put("/aliases/a", json=body, headers={"If-Match": '"x"'}).status_code == 412
    assert client.post("/aliases/a/rollback").status_code == 404
    assert world.services.inference.loaded == {}


def test_a_rollback_loads_what_it_leads_to(fresh_world: World) -> None:
    world, client = fresh_world, fresh_world.client
    for model in (world.erm, world.model):
        client.put("/aliases/a", json={"model": model})
    wait_until(lambda: world.services.inference.loaded == {"torch": 2})
    world.services.inference.cache.drop(world.erm)
    assert world.services.inference.loaded == {}
    assert client.post("/aliases/a/rollback").json()["model"] == world.erm
    wait_until(lambda: world.services.inference.loaded == {"torch": 1})
