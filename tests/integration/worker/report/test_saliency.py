"""The masks that a report shows and counts are those that the job's finetune trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, JobKind, Stage
from models.backbones.build import build_network
from models.data.layout import DatasetInfo
from models.data.loading.loaders import map_loader
from models.evaluation.metrics import predict_logits
from models.export import card_of, save_model
from models.masking.compute import compute_mask_set
from models.masking.rule import apply_masks
from models.masking.store import MaskSet
from tests.support.arrays import Arrays, write_arrays
from worker.context import StageContext
from worker.networks.features import LogitsCache, loader_for
from worker.protocol import DatasetSpec, Spec
from worker.report.gallery import make_gallery, squares_of
from worker.report.saliency import costs_of_masks, explain_pool
from worker.results import ModelSpec
from worker.workspace import Workspace

CLASSES = ("a", "b")
IMAGES = 24


def bench(
    folder: Path, masking: dict[str, Any], *, count: int = IMAGES, val: int = 0, **params: Any
) -> tuple[StageContext, ModelSpec]:
    """A job with an untrained model, on wide images of noise, so many in `val` and all others in `train`."""
    settings = Settings(data_dir=folder / "var")
    artifacts = Artifacts(settings.storage, cache=folder / "cache")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 28, 40, 3), np.uint8)
    labels = np.arange(count, dtype=np.int64) % 2
    splits = ["val"] * val + ["train"] * (count - val)
    with artifacts.writing("datasets/ds") as store:
        write_arrays(store / "new", Arrays(images, labels, splits), DatasetInfo("x", "builtin", CLASSES))
        for file in (store / "new").iterdir():
            file.rename(store / file.name)
        (store / "new").rmdir()
    network = build_network("small_cnn", classes=2, image_size=28, seed=3)
    with artifacts.writing("models/m") as card:
        save_model(network, card_of(network, CLASSES, "erm"), card)
    model = ModelSpec(
        id="mdl_m",
        arm=Arm.ERM,
        artifact="models/m",
        erm_id=None,
        job_id=None,
        classes=CLASSES,
        backbone="small_cnn",
        image_size=28,
    )
    spec = Spec(
        job_id=new_id("job"),
        kind=JobKind.MASKTUNE,
        attempt=1,
        stages=(Stage.EVALUATE,),
        params=Hyperparameters.from_json({"image_size": 28, "masking": masking} | params),
        dataset=DatasetSpec("ds_d", "x", {}, "datasets/ds", CLASSES),
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
        log=print,
    )
    return context, model


@pytest.mark.parametrize(
    "masking",
    [
        {"sigmas": 1.0},
        {"sigmas": 1.0, "target": "label"},
        {"share": 0.2, "crop": "centre", "fill": "mean"},
        {"sigmas": 0.5, "crop": "square", "target": "label"},
    ],
    ids=str,
)
def test_the_report_masks_what_the_finetune_masks(masking: dict[str, Any], tmp_path: Path) -> None:
    context, model = bench(tmp_path, masking)
    cache = LogitsCache(context, passes=3)
    network, config, rows = cache.network(model), context.params, context.store.rows("train")
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

    pool = explain_pool(context, {Arm.ERM: model}, cache, split="train", after=None)
    explained = pool.arms[Arm.ERM]
    assert explained.masked == pytest.approx(shares)
    answered = predict_logits(network, loader_for(context, network, rows), context.run)
    assert np.array_equal(
        explained.labels, answered.predictions
    )  # of the whole image, whatever the map is of

    cost = costs_of_masks(context, pool, cache)[Arm.ERM]
    assert cost.masked_share == pytest.approx(shares.mean())
    assert cost.arms[0].correct == int((answered.predictions == answered.labels).sum())

    (tmp_path / "pictures").mkdir()
    gallery = make_gallery(context, pool, folder=tmp_path / "pictures")
    item = gallery.items[0]
    (pixels,) = squares_of(context, network, rows[[item.sample]])
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    filled = apply_masks(image, trained[item.sample][None], config.masking.fill)
    folder, layers = tmp_path / "pictures", item.arms[Arm.ERM]
    picture = Image.open(folder / item.image).convert("RGBA")
    picture.alpha_composite(Image.open(folder / layers.mask).convert("RGBA"))
    small = np.asarray(picture.convert("RGB"))[::8, ::8]
    assert np.abs(small / 255 - filled[0].permute(1, 2, 0).numpy()).max() < 0.5 / 255 + 1e-6
    assert {item.sample: item.masked_share for item in gallery.items} == pytest.approx(
        {item.sample: float(shares[item.sample]) for item in gallery.items}
    )
