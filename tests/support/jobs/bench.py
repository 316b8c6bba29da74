"""A database, a store and a data set, with jobs that run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.predictions.presenter import data_uri
from app.reports.service import render
from core import schema
from core.queries import datasets, events, jobs, registry
from core.settings import Settings
from core.storage.reports import REPORT
from core.tables import DatasetRow, JobRow
from masktune.contract.ids import new_id
from masktune.contract.report import Report
from masktune.contract.vocabulary import Arm, EventType, JobKind, JobState
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.importing.datasets import import_dataset
from models.export import ModelCard, card_of, load_model, save_model
from tests.support.jobs.inline import run_inline
from tests.support.jobs.real_jobs import add_dataset, add_import, add_job, make_folder
from tests.support.rows import model_row
from tests.support.seeds import shifted
from tests.support.threads import THREADS
from worker.runtime import Runtime


@dataclass
class Bench:
    """The environment for the tests of stages."""

    runtime: Runtime
    dataset_id: str
    images: Path

    def run(self, kind: JobKind, **changes: Any) -> str:
        return add_job(self.runtime.database, kind, changes.pop("dataset_id", self.dataset_id), **changes)

    def done(self, *job_ids: str) -> list[JobRow]:
        """Run all queued jobs; return these jobs afterwards."""
        while run_inline(self.runtime):
            pass
        return [self.job(id) for id in job_ids]

    def job(self, job_id: str) -> JobRow:
        with self.runtime.database.read() as session:
            return jobs.get(session, job_id)

    def succeed(self, *job_ids: str) -> list[JobRow]:
        rows = self.done(*job_ids)
        assert [(row.state, row.error) for row in rows] == [(JobState.SUCCEEDED, None)] * len(rows)
        return rows

    def imported(self, source: dict[str, str], **params: Any) -> tuple[JobRow, DatasetRow]:
        """Import a data set from this source; return the job and the data set afterwards."""
        dataset_id, job_id = add_import(self.runtime.database, source, **params)
        (job,) = self.done(job_id)
        with self.runtime.database.read() as session:
            return job, datasets.get(session, dataset_id)

    def untrained(self, classes: tuple[str, ...], *, backbone: str = "small_cnn", size: int = 28) -> str:
        """Add an untrained model with these classes, as if it had been imported."""
        model_id = new_id("mdl")
        network = build_network(backbone, classes=len(classes), image_size=size, seed=shifted(3))
        with self.runtime.artifacts.writing(f"models/{model_id}") as folder:
            save_model(network, card_of(network, classes, "imported"), folder)
        with self.runtime.database.begin() as session:
            row = model_row(
                id=model_id, arm=Arm.IMPORTED, classes=list(classes), backbone=backbone, image_size=size
            )
            registry.add(session, row)
        return model_id

    def stop(self, job_id: str, when: Callable[[], bool]) -> JobRow:
        """Run the one queued job until `when` is true; return the job, which is queued again."""
        assert run_inline(self.runtime, when)
        row = self.job(job_id)
        assert row.state is JobState.QUEUED
        return row

    def folder(self, key: str) -> Path:
        return self.runtime.artifacts.folder(key)

    def load(self, model_id: str) -> tuple[Network, ModelCard]:
        """The network of a model and its card."""
        with self.runtime.database.read() as session:
            row = registry.get(session, model_id)
        below = None if row.backbone_artifact is None else self.folder(row.backbone_artifact)
        return load_model(self.folder(row.artifact), backbone=below)

    def logs(self, job_id: str) -> list[str]:
        with self.runtime.database.read() as session:
            told = events.page(session, job_id, after=0, limit=1000)
        return [e.data["message"] for e in told if e.type == EventType.LOG]

    def report_json(self, job: JobRow) -> dict[str, Any]:
        text = (self.folder(job.done["evaluate"]["artifact"]) / REPORT).read_text()
        report: dict[str, Any] = json.loads(text)
        return report

    def report(self, job: JobRow) -> Report:
        return Report.model_validate(self.report_json(job))

    def page(self, job: JobRow) -> str:
        """The report as HTML, with all its pictures found."""
        folder = self.folder(job.done["evaluate"]["artifact"])
        return render(self.report(job), lambda name: data_uri((folder / name).read_bytes()))


@contextmanager
def opened_runtime(folder: Path, **changes: Any) -> Iterator[Runtime]:
    """A worker on SQLite in `folder`; `changes` override the settings."""
    usual: dict[str, Any] = {
        "data_dir": folder,
        "threads": THREADS,
        "device": "cpu",
        "retry_backoff_seconds": 0.0,
        "allowed_sources": f"file://{folder}/images",
    }
    settings = Settings(**usual | changes)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    schema.upgrade(settings.database)
    runtime = Runtime.open(settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        yield runtime
    finally:
        torch.set_num_threads(threads)
        runtime.close()


@contextmanager
def opened_bench(folder: Path, store: Path, images: Path | None = None, **changes: Any) -> Iterator[Bench]:
    """A `Bench` on SQLite in `folder` with the packed data set `store`; `images` may be imported as well.

    `changes` override the settings.
    """
    with opened_runtime(folder, **changes) as runtime:
        yield Bench(runtime, add_dataset(runtime.database, runtime.artifacts, store), images or folder)


@contextmanager
def bench_with_digits(folder: Path, *, images: int = 220, **changes: Any) -> Iterator[Bench]:
    """A `Bench` on so many of the images of `make_folder`."""
    pictures = make_folder(folder / "images" / "digits", images)
    import_dataset(pictures, folder / "store")
    with opened_bench(folder, folder / "store", pictures, **changes) as bench:
        yield bench
