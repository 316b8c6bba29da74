"""The content of the dashboard's benchmark: a data set, one real training on it, a history of ended jobs."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks._service import served
from core.queries import jobs
from core.session import Database
from core.settings import Settings
from core.tables import JobRow
from masktune import Client
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind, JobState

READY = "world.json"
HOUR = 3600.0


class World(NamedTuple):
    """The ids of the content, and the seconds that the import and the training took."""

    dataset: str
    job: str
    model: str
    import_seconds: float
    train_seconds: float


def world(folder: Path, *, images: int, ended: int) -> World:
    """The world in this folder, created if missing. `ended` is the number of jobs in the history."""
    record = folder / READY
    if record.exists():
        return World(**json.loads(record.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "images.zip"
    _write_images(archive, images)
    with served(folder) as url, Client(url) as client:
        began = time.monotonic()
        dataset = client.datasets.upload(archive, name="many")
        client.datasets.wait(dataset.id, timeout=HOUR)
        imported = time.monotonic()
        _add_jobs(folder / "data", dataset.id, ended)
        job = client.jobs.start("erm", dataset=dataset.id, epochs=1, backbone="small_cnn")
        ended_job = client.jobs.wait(job.id, timeout=HOUR)
        trained = time.monotonic()
    archive.unlink()
    world = World(dataset.id, job.id, ended_job.models["erm"], imported - began, trained - imported)
    record.write_text(json.dumps(world._asdict()))
    return world


def _write_images(archive: Path, number: int) -> None:
    """Noise images of 28 px in two classes, one a little brighter; all differ, and none compresses well."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(archive, "w") as target:
        for index in range(number):
            stream = io.BytesIO()
            pixels = rng.integers(0, 226 + 30 * (index % 2), (28, 28, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
            target.writestr(f"{('a', 'b')[index % 2]}/{index:06d}.png", stream.getvalue())


def _add_jobs(data: Path, dataset: str, number: int) -> None:
    """Add ended jobs, in every end state."""
    database = Database(Settings(data_dir=data).database)
    ends = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    error = {"title": "The job failed", "status": 500, "detail": "the loss is not a number"}
    with database.begin() as session:
        for index in range(number):
            state = ends[index % len(ends)]
            row = JobRow(
                id=new_id("job"), kind=JobKind.ERM, dataset_id=dataset, params={"backbone": "small_cnn"}
            )
            jobs.add(session, row)
            row.state = state
            row.error = error if state is JobState.FAILED else None
            row.ended_at = time.time()
    database.close()
