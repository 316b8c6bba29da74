"""Jobs that a test run trains once: tests that look at what a job made copy its data folder."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core.tables import DatasetRow
from masktune.contract.hyperparameters import MitigateConfig
from masktune.contract.vocabulary import JobKind
from models.data.importing.datasets import import_dataset
from tests.support.biased_digits import make_digits
from tests.support.jobs.bench import Bench, opened_bench, opened_runtime
from tests.support.jobs.real_jobs import QUICK, hyperparameters, make_grouped
from tests.support.once import once
from tests.support.seeds import shifted
from worker.networks import features
from worker.networks.passes import NetworkPass

NAME = "digits, there already"
MASKTUNE: dict[str, Any] = {"image_size": 16, "epochs": 2, "batch_size": 64, "finetune": {"epochs": 1}}
"""What the `masktune` job of a run is trained with."""


@dataclass(frozen=True)
class Golden:
    """A `mitigate` job without masks on digits whose ground, light or dark, goes with the class in nine of
    ten."""

    folder: str
    """The data folder of a service, with the database and the artifacts of the import and the job."""
    dataset: str
    job: str
    models: dict[str, str]
    """Id by arm."""

    def copy(self, folder: Path) -> None:
        """Make a new data folder of it."""
        shutil.copytree(self.folder, folder)


def golden_of(factory: pytest.TempPathFactory) -> Golden:
    """The job of this test run."""
    return Golden(**once(factory, "golden", lambda folder: asdict(_trained(folder))))


def _trained(folder: Path) -> Golden:
    images = make_digits(folder / "images", aligned=9)
    data, training = folder / "data", hyperparameters(image_size=16, epochs=2, batch_size=32, seed=shifted(3))
    params = MitigateConfig.from_json(training | {"head": QUICK, "masktune": False}).to_json()
    with opened_runtime(data, allowed_sources=f"file://{images}") as runtime:
        bench = Bench(runtime, "", images)
        # One seed for all: of some splits, ten test images of a class lack the pattern, enough for a verdict.
        _, dataset = bench.imported({"address": f"file://{images}"}, seed=0)
        (job,) = bench.succeed(bench.run(JobKind.MITIGATE, dataset_id=dataset.id, params=params))
        with runtime.database.begin() as session:
            session.execute(update(DatasetRow).values(name=NAME))
    return Golden(str(data), dataset.id, job.id, job.models)


@dataclass(frozen=True)
class Masktune:
    """A `masktune` job on digits with labelled groups, one of which is rare in each class."""

    folder: str
    """Of a bench: its data, and below `images/digits` its images, without a table."""
    dataset: str
    job: str
    asked: list[int]
    """How many images a network was given each time that the job asked one for logits."""


def masktune_of(factory: pytest.TempPathFactory) -> Masktune:
    """The `masktune` job of this test run."""
    return Masktune(**once(factory, "masktune", lambda folder: asdict(_masked(folder))))


def _masked(folder: Path) -> Masktune:
    report = import_dataset(make_grouped(folder / "images"), folder / "store")
    assert (report.state, set(report.group_names)) == ("ready", {"plain", "square"})
    asked: list[int] = []

    class Counted(NetworkPass):
        def compute(self, *arguments: Any) -> Any:  # not called where all shards are there
            asked.append(sum(self.sizes))
            return super().compute(*arguments)

    with pytest.MonkeyPatch.context() as patch, opened_bench(folder, folder / "store") as bench:
        patch.setattr(features, "NetworkPass", Counted)
        (job,) = bench.succeed(bench.run(JobKind.MASKTUNE, params=hyperparameters(**MASKTUNE)))
        return Masktune(str(folder), bench.dataset_id, job.id, asked)
