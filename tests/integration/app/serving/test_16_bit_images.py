"""A 16-bit image is predicted through the window in its model's card, whether it is stored or posted, and is
shown through that of its data set."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from core.queries import datasets, registry
from core.tables import ModelRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm
from models.backbones.build import build_network
from models.data.grey import GreyWindow
from models.data.images.decoding import stored_square, to_unit
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.export import card_of, save_model
from tests.integration.app.serving.conftest import CLASSES, World
from tests.support.rows import dataset_row


def _scan() -> bytes:
    levels = np.random.default_rng(0).integers(0, 4096, (28, 28)).astype(np.uint16)
    buffer = BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def _add(world: World, data: bytes, window: GreyWindow | None) -> tuple[str, str]:
    """A data set of this image alone and a model, both with the window; return their ids."""
    dataset, model = new_id("ds"), new_id("mdl")
    artifacts = world.services.artifacts
    with artifacts.writing(f"datasets/{dataset}") as folder, StoreWriter(folder) as writer:
        writer.add(Row("left/0.png", 0, "test", -1, 28, 28, data))
        writer.finish(DatasetInfo("scans", "image_folder", tuple(CLASSES), grey_window=window))
    network = build_network("small_cnn", classes=2, image_size=28, seed=1)
    with artifacts.writing(f"models/{model}") as folder:
        save_model(network, card_of(network, tuple(CLASSES), "erm", grey_window=window), folder)
    with world.services.database.begin() as session:
        datasets.add(
            session,
            dataset_row(id=dataset, job_id=world.job, artifact=f"datasets/{dataset}", classes=CLASSES),
        )
        fields = {"backbone": "small_cnn", "classes": CLASSES, "image_size": 28}
        registry.add(session, ModelRow(id=model, arm=Arm.ERM, artifact=f"models/{model}", **fields))
    return dataset, model


@pytest.mark.parametrize("window", [None, GreyWindow(4, 4091)])
def test_a_stored_and_a_posted_scan_have_the_same_answer(world: World, window: GreyWindow | None) -> None:
    data = _scan()
    dataset, model = _add(world, data, window)
    stored = world.ask(model=model, dataset=dataset, sample=0)["predictions"]
    posted = world.post(data, model=model)
    assert posted.status_code == 200, posted.text
    assert posted.json()["predictions"] == stored

    network = build_network("small_cnn", classes=2, image_size=28, seed=1)
    with torch.inference_mode():
        logits = network(to_unit(stored_square(data, 28, window=window)[None]))
    expected = dict(zip(CLASSES, logits.softmax(1)[0].tolist(), strict=True))
    told = {candidate["label"]: candidate["probability"] for candidate in stored[0]["candidates"]}
    assert told == pytest.approx(expected, abs=1e-5)


def test_a_scan_is_sent_as_a_picture_of_8_bits(world: World) -> None:
    dataset, _ = _add(world, _scan(), GreyWindow(4, 4091))
    path = f"/datasets/{dataset}/samples/0/image"
    picture = world.client.get(path, params={"as": "png"})
    shown = stored_square(_scan(), 28, window=GreyWindow(4, 4091)).permute(1, 2, 0)
    assert np.array_equal(np.asarray(Image.open(BytesIO(picture.content))), shown.numpy())
    small = world.client.get(path, params={"as": "png", "side": 16})
    assert Image.open(BytesIO(small.content)).size == (16, 16)
    assert world.client.get(path).content == _scan()

    again = {"If-None-Match": picture.headers["ETag"]}
    answers = [world.client.get(f"{path}?as=png{side}", headers=again) for side in ("", "&side=16")]
    assert [answer.status_code for answer in answers] == [304, 200]
    assert picture.headers["Cache-Control"] == world.client.get(path).headers["Cache-Control"]
    refused = world.client.get(path, params={"side": 16})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "?side")
    assert world.client.get(f"/datasets/{dataset}/samples/1/image?as=png").status_code == 404
