"""The masks that a report shows and counts are those that the job's finetune trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.artifacts import Artifacts
from core.ids import new_id
from core.settings import Settings
from core.vocabulary import Arm, JobKind, Stage
from models.backbones import build_network
from models.config import Hyperparameters
from models.data.layout import DatasetInfo
from models.data.packing import Arrays, write_arrays
from models.evaluate import predict_logits
from models.export import card_of, save_model
from models.masking import MaskSet, compute_mask_set
from models.masktune import map_loader
from models.pictures import mask_image, png, thumbnail
from models.saliency import saliency
from worker.spec import DatasetSpec, ModelSpec, Spec
from worker.stages.compared import Said, loader_for
from worker.stages.context import StageContext
from worker.stages.gallery import make_gallery, squares_of
from worker.stages.looks import costs_of_masks, look
from worker.stages.training import load
from worker.workspace import Workspace

CLASSES = ("a", "b")
IMAGES = 24


def bench(folder: Path, masking: dict[str, Any]) -> tuple[StageContext, ModelSpec]:
    """A job with an untrained model, on wide images of noise that all stand in `train`."""
    settings = Settings(data_dir=folder / "var")
    artifacts = Artifacts(settings.storage, cache=folder / "cache")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 28, 40, 3), np.uint8)
    labels = np.arange(IMAGES, dtype=np.int64) % 2
    with artifacts.writing("datasets/ds") as store:
        write_arrays(
            store / "new", Arrays(images, labels, ["train"] * IMAGES), DatasetInfo("x", "builtin", CLASSES)
        )
        for file in (store / "new").iterdir():
            file.rename(store / file.name)
        (store / "new").rmdir()
    network = build_network("small_cnn", classes=2, image_size=28, seed=3)
    with artifacts.writing("models/m") as card:
        save_model(network, card_of(network, CLASSES, "erm"), card)
    model = ModelSpec("mdl_m", Arm.ERM, "models/m", None, None, None, CLASSES, "small_cnn", None)
    spec = Spec(
        job_id=new_id("job"),
        kind=JobKind.MASKTUNE,
        attempt=1,
        stages=(Stage.EVALUATE,),
        done={},
        params=Hyperparameters.from_json({"image_size": 28, "masking": masking}).to_json(),
        inputs={},
        slot=0,
        dataset=DatasetSpec("ds_d", "x", "builtin", {}, {}, "datasets/ds", CLASSES),
        models={"mdl_m": model},
    )
    workspace = Workspace.started(artifacts, spec.job_id, scratch=settings.scratch)
    context = StageContext(
        spec=spec,
        stage=Stage.EVALUATE,
        settings=settings,
        artifacts=artifacts,
        workspace=workspace,
        device="cpu",
        threads=1,
        on_progress=lambda progress: None,
        should_stop=lambda: False,
        say=print,
    )
    return context, model


@pytest.mark.parametrize(
    "masking",
    [
        {"sigmas": 1.0},
        {"sigmas": 1.0, "target": "label"},
        {"share": 0.2, "crop": "centre"},
        {"sigmas": 0.5, "crop": "square", "target": "label"},
    ],
    ids=str,
)
def test_the_report_masks_what_the_finetune_masks(masking: dict[str, Any], tmp_path: Path) -> None:
    context, model = bench(tmp_path, masking)
    said = Said(context, passes=3)
    network, config, rows = said.network(model), context.params, context.store.rows("train")
    compute_mask_set(
        network,
        map_loader(context.store, config, context.run),
        config.masking,
        context.run,
        folder=tmp_path / "set",
    )
    trained = MaskSet.open(tmp_path / "set").masks(torch.from_numpy(rows), 28, torch.device("cpu"))
    shares = trained.float().mean((1, 2)).numpy()
    assert 0 < shares.mean() < 0.5

    looks = look(context, {Arm.ERM: model}, said, split="train")
    seen = looks.seen[Arm.ERM]
    assert seen.masked == pytest.approx(shares)
    answered = predict_logits(network, loader_for(context, network, rows), context.run)
    assert np.array_equal(seen.labels, answered.predictions)  # of the whole image, whatever the map is of

    cost = costs_of_masks(context, {Arm.ERM: model}, said, splits=["train"])["train"][Arm.ERM]
    assert cost.masked_share == pytest.approx(shares.mean())
    assert cost.arms[0].correct == int((answered.predictions == answered.labels).sum())

    (tmp_path / "pictures").mkdir()
    gallery = make_gallery(context, network, looks, folder=tmp_path / "pictures")
    item = gallery["items"][0]
    (pixels,) = squares_of(context, network, rows[[item["sample"]]])
    picture = png(thumbnail(mask_image(pixels, trained[item["sample"]].numpy()), side=256))
    assert (tmp_path / "pictures" / item["arms"]["erm"]["mask"]).read_bytes() == picture
    assert {item["sample"]: item["masked"] for item in gallery["items"]} == pytest.approx(
        {item["sample"]: float(shares[item["sample"]]) for item in gallery["items"]}
    )


def test_a_slow_method_gives_signs_of_life_within_a_batch(tmp_path: Path) -> None:
    """Of ResNet-50 one batch may take it an hour, which is no reason to take it for hung."""
    asked: list[bool] = []

    def should_stop() -> bool:
        asked.append(True)
        return False

    context, model = bench(tmp_path, {})
    network, _ = load(replace(context, should_stop=should_stop), model)
    network.eval()
    saliency(network, torch.rand(3, 3, 28, 28), method="scorecam")
    assert len(asked) > 3
