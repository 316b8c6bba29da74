"""A job that predicts some thousand small files in many shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.queries import registry
from masktune.contract.hyperparameters import RetrainConfig
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, JobKind
from models.backbones.build import build_network
from models.data.importing.datasets import import_dataset
from models.export import card_of, save_model
from tests.integration.worker.service import Service
from tests.support.jobs.real_jobs import CLASSES, QUICK, add_job, hyperparameters
from tests.support.rows import model_row


def make_files(folder: Path, files: int, *, broken: int = 0) -> Path:
    """The packed store of so many small PNGs, of which the first `broken` end too early."""
    rng = np.random.default_rng(0)
    for number in range(files):
        file = folder / "images" / CLASSES[number % 2] / f"{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
        if number < broken:
            file.write_bytes(file.read_bytes()[:-200])
    report = import_dataset(folder / "images", folder / "store")
    assert (report.state, report.count) == ("ready", files - broken)
    return folder / "store"


def add_prediction(service: Service) -> str:
    """Queue the prediction of all files by a network that takes some seconds for them."""
    return _add(service, JobKind.PREDICT, {"split": "all"})


def add_training_of_a_head(service: Service) -> str:
    """Queue the training of a last layer on the features and early stages of the same network."""
    head = RetrainConfig.from_json({"head": QUICK, "seed": 1, "control": False})
    return _add(service, JobKind.RETRAIN_HEAD, head.to_json())


def add_masktune(service: Service) -> str:
    """Queue a training of the same network, its masks, and the finetuning on them."""
    quick = {"epochs": 1, "finetune": {"epochs": 1}, "control": False}
    return service.add(params=hyperparameters(image_size=32, batch_size=256, **quick))


def _add(service: Service, kind: JobKind, params: dict[str, Any]) -> str:
    model_id = new_id("mdl")
    network = build_network("small_cnn", classes=2, image_size=64, seed=3)
    with service.artifacts.writing(f"models/{model_id}") as folder:
        save_model(network, card_of(network, CLASSES, "imported"), folder)
    with service.database.begin() as session:
        registry.add(session, model_row(id=model_id, arm=Arm.IMPORTED, classes=list(CLASSES)))
    inputs = {"model": model_id}
    job_id = add_job(service.database, kind, service.dataset_id, params=params, inputs=inputs)
    service.notifier.notify(job_id)
    return job_id
