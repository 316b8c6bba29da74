"""A look at what a model sees is a stage like any other: it says that it is alive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.artifacts import Artifacts
from core.settings import Settings
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, JobKind, Stage
from models.backbones.build import build_network
from models.data.layout import DatasetInfo
from models.export import card_of, save_model
from models.saliency import saliency
from tests.support.arrays import Arrays, write_arrays
from worker.child.workspace import Workspace
from worker.protocol import DatasetSpec, ModelSpec, Spec
from worker.stages.context import StageContext
from worker.stages.training import load

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
    model = ModelSpec("mdl_m", Arm.ERM, "models/m", None, None, CLASSES, "small_cnn", None)
    spec = Spec(
        job_id=new_id("job"),
        kind=JobKind.MASKTUNE,
        attempt=1,
        stages=(Stage.EVALUATE,),
        done={},
        params=Hyperparameters.from_json({"image_size": 28, "masking": masking}).to_json(),
        inputs={},
        slot=0,
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
