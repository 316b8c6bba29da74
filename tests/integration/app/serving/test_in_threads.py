"""The gate learns which requests leave the event loop to others."""

from __future__ import annotations

import pytest

from app.server.middleware.admission import Gate
from tests.integration.app.serving.conftest import World, picture

PNG = {"Content-Type": "image/png"}


class Noted(Gate):
    """Notes each change of the requests in threads."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        super().__init__(64)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "threaded":
            self.seen.append(value)  # type: ignore[arg-type]  # a number


@pytest.fixture
def gate(fresh_world: World) -> Noted:
    noted = fresh_world.app.state.gate = Noted()
    return noted


def test_what_is_answered_in_threads_is_told(fresh_world: World, gate: Noted) -> None:
    client, model, stored = fresh_world.client, fresh_world.model, f"{fresh_world.dataset}&sample=0"
    asked = [
        client.post(f"/predict?model={model}", content=picture(0), headers=PNG),
        client.post(f"/saliency?model={model}", content=picture(0), headers=PNG),
        client.get(f"/predict?model={model}&dataset={stored}"),
        client.get(f"/saliency?model={model}&dataset={stored}"),
        client.post(f"/predict?model={model}", content=b"no image", headers=PNG),
    ]
    assert [answer.status_code for answer in asked] == [200, 200, 200, 200, 422]
    assert gate.seen == [0, *[1, 0] * 5]
    assert gate.inside == 0


def test_what_is_answered_on_the_loop_is_not(fresh_world: World, gate: Noted) -> None:
    path = f"/predict?model={fresh_world.model}"
    assert fresh_world.client.post(path, content=picture(0), headers=PNG).status_code == 200
    for engine in fresh_world.app.state.services.inference._cache.engines:
        engine.quick = True  # as who measures it does
    gate.seen.clear()
    assert fresh_world.client.post(path, content=picture(0), headers=PNG).status_code == 200
    assert gate.seen == []
    # too large for the loop
    assert fresh_world.client.post(path, content=picture(0, side=200), headers=PNG).status_code == 200
    assert gate.seen == [1, 0]
