"""Stored samples: whose data set has to be fetched first, and who may see them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx2
import pytest

from app.datasets.stores import MOST_WAITING
from core.storage.artifacts import Artifacts
from models.data.report import ImportReport
from tests.integration.app.jobs.test_unlabelled import imported, unlabelled
from tests.integration.app.serving.conftest import PNG, World, furnished, picture

__all__ = ["imported"]


class Held(Artifacts):
    """A store that hands nothing out until `gate` is open; `asked` counts who waits for it."""

    def __init__(self, inner: Artifacts) -> None:
        super().__init__(f"file://{inner.root}", cache=inner.copies._folder)
        self.gate = threading.Event()
        self.asked = 0

    def folder(self, key: str) -> Path:
        self.asked += 1
        assert self.gate.wait(30)
        return super().folder(key)


@pytest.mark.parametrize("path", ["/predict", "/saliency"])
def test_a_data_set_that_is_slow_to_come_holds_up_no_prediction(fresh_world: World, path: str) -> None:
    world = fresh_world
    held = world.services.stores._artifacts = Held(world.services.artifacts)
    more = 5

    async def run() -> None:
        async with world.http() as http:

            async def ask(model: str) -> httpx2.Response:
                return await http.post("/predict", params={"model": model}, content=picture(1), headers=PNG)

            assert (await ask(world.model)).status_code == 200  # both networks are loaded
            assert (await http.post(path, params={"model": world.model}, files={"f": picture(1)})).is_success
            stored = [
                asyncio.create_task(http.get(path, params=world.query(sample=n)))
                for n in range(MOST_WAITING + more)
            ]
            try:
                async with asyncio.timeout(30):
                    # The thread that asks the store may start later than the last request is refused.
                    while sum(one.done() for one in stored) < more or not held.asked:
                        await asyncio.sleep(0.01)
                    refused = [one.result() for one in stored if one.done()]
                    assert {one.status_code for one in refused} == {503}
                    assert all(int(one.headers["Retry-After"]) >= 1 for one in refused)
                    assert (await ask(world.erm)).status_code == 200  # which is planned and loaded meanwhile
                assert world.app.state.admission.in_flight == 0
                assert world.services.predictions.threads.borrowed_tokens == 0
                assert held.asked == 1  # for all of them
            finally:
                held.gate.set()
            told = [(await one).status_code for one in stored]
            assert (told.count(200), told.count(503)) == (MOST_WAITING, more)

    world.in_the_loop(run)


def test_who_may_only_predict_sees_no_stored_sample(tmp_path: Path) -> None:
    """A mask that masks nothing is the training image itself, pixel by pixel."""
    with furnished(tmp_path, api_keys="predict:p,read:r,read+predict:rp,admin:a") as world:
        shown = {"sigmas": 10, "view": "mask", "format": "png"}
        for path, more in (("/saliency", shown), ("/predict", {})):
            for key, status in (("p", 403), ("r", 403), ("rp", 200), ("a", 200)):
                headers = {"Authorization": f"Bearer {key}"}
                answer = world.client.get(path, params=world.query(**more), headers=headers)
                assert answer.status_code == status, (path, key)
            world.client.headers["Authorization"] = "Bearer p"
            assert world.post(picture(1), path).status_code == 200


def test_every_model_predicts_a_sample_without_a_label(
    world: World, imported: tuple[Path, ImportReport]
) -> None:
    lunch = unlabelled(world.services, imported)
    image = world.client.get(f"/datasets/{lunch}/samples/1/image").content
    for model in (world.model, world.uncalibrated()):
        stored = world.ask(model=model, dataset=lunch, sample=1)["predictions"]
        assert world.post(image, model=model).json()["predictions"] == stored
    query = world.query(dataset=lunch, sample=1)
    assert world.client.get("/saliency", params=query).status_code == 200
    assert world.client.get("/predict", params=query | {"sample": 3}).status_code == 404
