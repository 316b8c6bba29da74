"""The content that `benchmarks.dashboard` visits: a data set and jobs on it, with many other rows."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks._common import served
from benchmarks._dashboard_rows import Row, Size, WorldRows
from core.queries import datasets
from core.schema import upgrade
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.tables import DatasetRow
from masktune import Client
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import DatasetState
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.shortcuts.check import find_shortcuts
from tests.support.arrays import Arrays, write_arrays

READY = "world.json"
CLASSES, GROUPS = ("a", "b"), ("a, left", "a, right", "b, left", "b, right")
_SPLITS = ("train",) * 17 + ("val", "calibration", "test")
_HOUR = 3600.0


class World(NamedTuple):
    """The ids of the content, and the seconds that it took. `long_job` has most events of all."""

    dataset: str
    job: str
    model: str
    predictions: str
    long_job: str
    webhook: str
    seconds: float


def make_world(folder: Path, size: Size) -> World:
    """The world in this folder, made if it is missing."""
    record = folder / READY
    if record.exists():
        return World(**json.loads(record.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    began, settings = time.monotonic(), Settings(data_dir=folder / "data")
    upgrade(settings.database)
    database = Database(settings.database)
    dataset = _add_dataset(database, settings, size.samples)
    with served(folder) as url, Client(url) as client:
        training = client.jobs.start(
            "masktune", dataset=dataset, epochs=1, backbone="small_cnn", max_train_samples=2_000
        )
        model = client.jobs.wait(training.id, timeout=_HOUR).models["masktune"]
        predict = client.jobs.start("predict", dataset=dataset, model=model, split="all")
        client.jobs.wait(predict.id, timeout=_HOUR)
        answer = client.predict.sample(model=model, dataset=dataset, sample=0)
    prediction = answer.predictions[0].model_dump(mode="json")
    long_job, webhook = WorldRows(database, training.id, model).add(size, prediction)
    database.close()
    seconds = time.monotonic() - began
    world = World(dataset, training.id, model, predict.id, long_job, webhook, seconds)
    record.write_text(json.dumps(world._asdict()))
    return world


def _add_dataset(database: Database, settings: Settings, samples: int) -> str:
    """A data set as an import would have left it: two classes, groups, subjects, a text and a number."""
    id, rng = new_id("ds"), np.random.default_rng(0)
    labels, sides = np.arange(samples) % 2, rng.integers(2, size=samples)
    images = rng.integers(0, 226, (samples, 28, 28, 3), dtype=np.uint8)
    images[labels == 1] += 30
    splits = [_SPLITS[number // 2 % len(_SPLITS)] for number in range(samples)]
    artifacts = Artifacts(settings.storage, cache=settings.data_dir / "cache")
    with artifacts.writing(f"datasets/{id}") as folder:
        store = write_arrays(
            folder,
            Arrays(images, labels, splits, 2 * labels + sides),
            DatasetInfo("many", "csv", CLASSES, GROUPS),
            subjects=[f"subject {number // 4:06}" for number in range(samples)],
            metadata={
                "site": [f"site {number:02}" for number in rng.integers(40, size=samples)],
                "age": [str(number) for number in rng.integers(90, size=samples)],
            },
        )
        summary = _summary(store)
    with database.begin() as session:
        row = DatasetRow(
            id=id,
            name="many",
            state=DatasetState.READY,
            format="csv",
            source={},
            options={},
            artifact=f"datasets/{id}",
            classes=list(CLASSES),
            summary=summary,
            ended_at=time.time(),
        )
        datasets.add(session, row)
    return id


def _summary(store: Store) -> Row:
    """What an import writes of its data set."""

    def counts(codes: np.ndarray, names: tuple[str, ...]) -> dict[str, int]:
        return dict(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True))

    splits = {}
    for split in store.counts:
        rows = store.rows(split)
        splits[split] = {
            "count": len(rows),
            "classes": counts(store.labels[rows], store.classes),
            "groups": counts(store.groups[rows], store.group_names),
            "subjects": len(np.unique(store.subjects[rows])),
        }
    return {
        "count": len(store),
        "subjects": len(store.subject_names),
        "splits": splits,
        "groups": list(store.group_names),
        "sizes": {"longer_side_median": 28, "longer_side_max": 28},
        "metadata_columns": [column.summary() for column in store.metadata.values()],
        "shortcuts": asdict(find_shortcuts(store, rng=np.random.default_rng(0))),
    }
