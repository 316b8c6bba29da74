"""Answers that take long to write are not written on the event loop, which answers everybody."""

from __future__ import annotations

import asyncio
import threading

import httpx2

from core.queries import registry
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm
from models.backbones.build import build_network
from models.export import card_of, save_model
from tests.integration.app.serving.conftest import World, picture
from tests.support.rows import model_row

MANY = 600
"""Classes."""


def _with_many_classes(world: World) -> str:
    model, classes = new_id("mdl"), [f"class {number}" for number in range(MANY)]
    network = build_network("small_cnn", classes=MANY, image_size=28, seed=1)
    with world.services.artifacts.writing(f"models/{model}") as folder:
        save_model(network, card_of(network, tuple(classes), "erm"), folder)
    row = model_row(id=model, arm=Arm.IMPORTED, classes=classes)
    with world.services.database.begin() as session:
        registry.add(session, row)
    return model


def test_the_loop_writes_small_answers_alone(fresh_world: World) -> None:
    world, model = fresh_world, _with_many_classes(fresh_world)

    async def run() -> None:
        async with world.http() as http:

            async def ask(images: int) -> httpx2.Response:
                files = [("file", (f"{n}.png", picture(n))) for n in range(images)]
                return await http.post("/predict", params={"model": model, "top_k": MANY}, files=files)

            await ask(1)  # it is loaded
            done = threading.Event()
            held = [asyncio.ensure_future(world.services.inference.draw(done.wait)) for _ in range(2)]
            try:
                large = asyncio.create_task(ask(4))
                for _ in range(5):
                    small = (await ask(1)).json()["predictions"]
                await asyncio.sleep(0.2)
                assert not large.done()
            finally:
                done.set()
                await asyncio.gather(*held)
            answers = (await large).json()["predictions"]
        assert len(answers) == 4
        assert [c["label"] for c in answers[0]["candidates"]] == [c["label"] for c in small[0]["candidates"]]
        assert model in world.services.metrics._models  # what was written there is counted as well

    world.in_the_loop(run)
