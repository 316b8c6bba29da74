"""Tiny data sets and jobs, but real ones, for the tests of stages and the kill tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from core.queries import datasets, jobs
from core.session import Database
from core.storage.artifacts import Artifacts
from core.tables import JobRow
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import DatasetState, JobKind
from tests.support.rows import dataset_row
from tests.support.seeds import shifted

CLASSES = ("0-4", "5-9")
QUICK = {"penalties": [10.0, 0.1], "judge_penalties": [0.1], "folds": 2, "repeats": 1}
"""A head that is retrained in seconds."""


def make_folder(root: Path, images: int = 220) -> Path:
    """An image folder of real digits, low against high, with a red square on nearly all low ones."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    for index, (digit, label) in enumerate(zip(pixels[:images], labels[:images], strict=True)):
        grey = Image.fromarray((digit.reshape(8, 8) * 15).astype("uint8")).resize((28, 28)).convert("RGB")
        high = int(label >= 5)
        if high == (index % 50 == 0):
            grey.paste((255, 0, 0), (0, 0, 4, 4))
        folder = root / CLASSES[high]
        folder.mkdir(parents=True, exist_ok=True)
        grey.save(folder / f"{index:04d}.png")
    return root


def make_grouped(root: Path, images: int = 500) -> Path:
    """Real digits in `digits`, low against high, a white square on nine of ten low ones and one of ten high
    ones; and beside them a table with this group and a scanner."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    lines = ["path,label,group,meta:scanner"]
    for index, (grey, digit) in enumerate(zip(pixels[:images], digits[:images], strict=True)):
        picture = (grey.reshape(8, 8) * 15).astype("uint8").repeat(2, 0).repeat(2, 1)
        high = int(digit >= 5)
        square = high == (index // 7 % 10 == 0)
        if square:
            picture[:4, :4] = 255
        file = root / "digits" / CLASSES[high] / f"{index:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
        group = ("plain", "square")[square]
        lines.append(f"{file.relative_to(root)},{CLASSES[high]},{group},X{index % 2}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


def hyperparameters(**changes: Any) -> dict[str, Any]:
    """Hyperparameters of a training that takes seconds."""
    small = {
        "epochs": 3,
        "batch_size": 8,
        "seed": shifted(5),
        "masking": {"sigmas": 1.0},
        "finetune": {"epochs": 2},
    }
    return Hyperparameters.from_json(small | changes).to_json()


def add_dataset(database: Database, artifacts: Artifacts, store: Path) -> str:
    """Add a ready data set by copying the packed store."""
    dataset_id = new_id("ds")
    with artifacts.writing(f"datasets/{dataset_id}") as folder:
        shutil.copytree(store, folder, dirs_exist_ok=True)
    with database.begin() as session:
        datasets.add(
            session,
            dataset_row(
                id=dataset_id, name="digits", artifact=f"datasets/{dataset_id}", classes=list(CLASSES)
            ),
        )
    return dataset_id


def add_import(database: Database, source: dict[str, str], **params: Any) -> tuple[str, str]:
    """Queue the import of a data set from this source; return the ids of the data set and of the job."""
    dataset_id, job_id = new_id("ds"), new_id("job")
    asked = {"format": "auto", "options": {}, "seed": shifted(0)} | params
    with database.begin() as session:
        datasets.add(
            session,
            dataset_row(
                id=dataset_id,
                name="imported",
                state=DatasetState.IMPORTING,
                source=source,
                options=asked["options"],
                job_id=job_id,
            ),
        )
        jobs.add(session, JobRow(id=job_id, kind=JobKind.IMPORT, dataset_id=dataset_id, params=asked))
    return dataset_id, job_id


def add_job(
    database: Database,
    kind: JobKind,
    dataset_id: str,
    *,
    params: dict[str, Any] | None = None,
    inputs: dict[str, Any] | None = None,
) -> str:
    """Queue a job as the API does, with the ids of the models that it will create."""
    job_id = new_id("job")
    arms = {
        arm: new_id("mdl")
        for arm in ("erm", "masktune", "masktune_control", "retrained", "retrained_control")
    }
    with database.begin() as session:
        jobs.add(
            session,
            JobRow(
                id=job_id,
                kind=kind,
                dataset_id=dataset_id,
                params=hyperparameters() if params is None else params,
                inputs={"dataset": dataset_id, "model_ids": arms} | (inputs or {}),
            ),
        )
    return job_id
