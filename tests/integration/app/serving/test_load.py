"""The engine under load: a bounded queue, clients that leave, shutdown, one load for all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.inference import Explain, Inference, Pair, StoredNetwork, Upload, check_forward
from app.inference.scheduling.batcher import ForwardRequest
from core.errors import BadImage, NotFound, Overloaded, Unavailable
from core.settings import Settings
from core.storage.artifacts import Artifacts
from models.backbones.build import build_network
from models.export import card_of, save_model
from tests.integration.app.serving.conftest import forward, inference_of, picture
from tests.unit.app.inference.doubles import EchoEngine, pictures

pytestmark = pytest.mark.anyio


@pytest.fixture
def inference(artifacts: Artifacts, tmp_path: Path) -> Iterator[Inference]:
    network = build_network("small_cnn", classes=2, image_size=28)
    with artifacts.writing("models/mdl_a") as folder:
        save_model(network, card_of(network, ("a", "b"), "erm"), folder)
    made = inference_of(Settings(data_dir=tmp_path, predict_queue=4, threads=1, engine="torch"), artifacts)
    yield made
    made.close()


PAIR = Pair(StoredNetwork("mdl_a", "models/mdl_a"), None)


@asynccontextmanager
async def _busy(inference: Inference) -> AsyncIterator[EchoEngine]:
    """The engine's thread is held until the block ends."""
    engine = EchoEngine()
    engine.gate.clear()
    held = inference._fast.submit(ForwardRequest(engine, pictures(0)))
    assert await asyncio.to_thread(engine.entered.wait, 10)
    try:
        yield engine
    finally:
        engine.gate.set()
        await asyncio.wrap_future(held)


async def test_what_is_being_decoded_has_a_place_in_the_queue_too(inference: Inference) -> None:
    await forward(inference, PAIR, [Upload(picture(0))])
    broken = [forward(inference, PAIR, [Upload(b"GIF89a")]) for _ in range(10)]
    outcomes = await asyncio.gather(*broken, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BadImage] * 4 + [Overloaded] * 6
    assert len((await forward(inference, PAIR, [Upload(picture(n)) for n in range(4)])).scores.logits) == 4


async def test_pictures_that_are_drawn_do_not_hold_up_predictions(inference: Inference) -> None:
    done = threading.Event()
    drawing = [asyncio.ensure_future(inference.draw(done.wait)) for _ in range(20)]
    assert len((await forward(inference, PAIR, [Upload(picture(0))])).scores.logits) == 1
    done.set()
    await asyncio.gather(*drawing)


async def test_slow_explanations_do_not_hold_up_predictions(inference: Inference) -> None:
    await forward(inference, PAIR, [Upload(picture(0))])
    async with _busy(inference):
        explained = await forward(inference, PAIR, [Upload(picture(1))], Explain("fullgrad"))
    assert explained.scores.maps is not None


def test_missing_and_damaged_models_say_so(inference: Inference, artifacts: Artifacts) -> None:
    with artifacts.writing("models/mdl_b") as folder:
        (folder / "model.json").write_text("{}")
    for name, error in (("mdl_b", Unavailable), ("mdl_c", NotFound)):
        with pytest.raises(error):
            asyncio.run(
                forward(inference, Pair(StoredNetwork(name, f"models/{name}"), None), [Upload(picture(0))])
            )


def test_the_check_is_a_real_forward_pass() -> None:
    check_forward("auto")
