"""The features of a frozen backbone are an artifact of the data set, which stages and jobs share."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from core.queries import jobs
from core.session import db_now
from core.storage import trash
from core.sweep import DAY
from core.tables import BackboneRow, JobRow, ModelRow, TrashRow
from masktune.contract.hyperparameters import HeadConfig, RetrainConfig
from masktune.contract.vocabulary import STAGES, JobKind, Stage
from models.data.store import Store
from models.training.frozen import backbone_digest
from tests.support.jobs.bench import Bench, bench_with_digits
from tests.support.jobs.real_jobs import CLASSES, QUICK, hyperparameters
from tests.support.seeds import shifted
from worker.stages import infer_groups

pytestmark = pytest.mark.trains


FEW_FITS = HeadConfig(rounds=0, judge_penalties=(10.0,))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Its jobs that need no groups infer them with fewer fits than the defaults have."""
    folder = tmp_path_factory.mktemp("frozen")
    with pytest.MonkeyPatch.context() as patch, bench_with_digits(folder, images=80) as opened:
        patch.setattr(infer_groups, "HeadConfig", lambda: FEW_FITS)
        yield opened


@pytest.fixture(scope="module")
def params(bench: Bench) -> dict[str, Any]:
    return frozen(bench)


@pytest.fixture(scope="module")
def masktune(bench: Bench, params: dict[str, Any]) -> JobRow:
    return bench.succeed(bench.run(JobKind.MASKTUNE, params=params))[0]


def frozen(bench: Bench) -> dict[str, Any]:
    """The weights of a model below a last layer that alone is trained; they are large enough to be stored
    apart."""
    model = bench.untrained(CLASSES, backbone="resnet32", size=16)
    one = {"backbone": "resnet32", "image_size": 16, "pretrained": model, "freeze_backbone": True}
    return hyperparameters(**one, epochs=1, finetune={"epochs": 1})


def features(bench: Bench) -> dict[str, float]:
    """The name of each artifact of features, and when it was written."""
    folder = bench.folder(f"features/{bench.dataset_id}")
    return {path.name: path.stat().st_mtime for path in folder.iterdir()}


def test_a_masktune_job_trains_last_layers_alone(bench: Bench, masktune: JobRow) -> None:
    assert tuple(Stage(s) for s in masktune.done) == STAGES[JobKind.MASKTUNE]
    networks = {arm: bench.load(id)[0] for arm, id in masktune.models.items()}
    assert len({backbone_digest(network) for network in networks.values()}) == 1
    heads = [networks[arm].classifier.weight for arm in ("erm", "masktune", "masktune_control")]
    assert all(not heads[i].equal(heads[j]) for i, j in ((0, 1), (1, 2), (0, 2)))
    assert any(
        "the last layer alone is trained on the masked images" in line for line in bench.logs(masktune.id)
    )


def test_the_report_says_that_only_the_last_layer_was_trained_and_tells_no_pace_of_features_that_were_read(
    bench: Bench, masktune: JobRow
) -> None:
    """Heads on stored features take 670,000 images a second, which no network does."""
    report = bench.report_json(masktune)
    assert "Only the last layer was trained, first on whole images" in report["training_note"]
    rates = {cost["stage"]: cost["images_per_second"] for cost in report["cost"]}
    assert rates["evaluate"] is None
    assert rates["mask"] > 0


def test_every_split_has_its_features_once(bench: Bench, masktune: JobRow) -> None:
    store = Store.open(bench.folder(f"datasets/{bench.dataset_id}"))
    names = features(bench)
    by_part = {name.partition("-")[2]: bench.folder(f"features/{bench.dataset_id}/{name}") for name in names}
    splits, others = ("calibration", "test", "train", "val"), ("calibration", "test", "val")
    assert sorted(by_part) == sorted([*splits, "early", *(f"early-{split}" for split in others)])
    for split in splits:
        values = np.load(by_part[split] / "values.npy")
        assert values.shape == (store.counts[split], 64)
    for split in others:
        coordinates = np.load(by_part[f"early-{split}"] / "early-0.npy")
        assert len(coordinates) == store.counts[split]


def test_later_jobs_use_the_same_features_and_backbone(
    bench: Bench, masktune: JobRow, params: dict[str, Any]
) -> None:
    """A job stores its backbone before it is known that others have it; this copy goes when the job ends."""
    before = features(bench)
    erm = bench.succeed(bench.run(JobKind.ERM, params=params | {"seed": shifted(6)}))[0]
    assert "Only the last layer" in bench.report_json(erm)["training_note"]
    inputs = {"model": erm.models["erm"]}
    bench.succeed(bench.run(JobKind.EVALUATE, params={"splits": ["test"]}, inputs=inputs))
    closed = RetrainConfig.from_json({"head": QUICK | {"gate": "closed"}, "seed": shifted(3)}).to_json()
    retrained = bench.succeed(bench.run(JobKind.RETRAIN_HEAD, params=closed, inputs=inputs))[0]
    assert features(bench) == before
    database = bench.runtime.database
    with database.begin() as session:
        (stored,) = session.scalars(select(BackboneRow.artifact))
        models = [id for job in (masktune, erm, retrained) for id in job.models.values()]
        assert {session.get_one(ModelRow, id).backbone_artifact for id in models} == {stored}
        assert erm.done["erm"]["model"]["backbone_artifact"] == stored
        own = f"backbones/{erm.models['erm']}"
        assert bench.runtime.artifacts.exists(own)
    empty_trash(bench)
    assert not bench.runtime.artifacts.exists(own)
    assert bench.runtime.artifacts.exists(stored)
    for id in models:
        assert sum(file.stat().st_size for file in bench.folder(f"models/{id}").iterdir()) < 100_000
        assert bench.load(id)[1].digest


def empty_trash(bench: Bench) -> None:
    """As the maintenance does when what is in the trash is due."""
    with bench.runtime.database.begin() as session:
        session.execute(update(TrashRow).where(TrashRow.at < db_now() + 2 * DAY).values(at=0.0))
    trash.empty(bench.runtime.database, bench.runtime.settings)


def test_a_job_that_is_resumed_when_its_own_copy_is_gone_ends_with_the_same_weights(
    bench: Bench, masktune: JobRow, params: dict[str, Any]
) -> None:
    job_id = bench.run(JobKind.MASKTUNE, params=params)
    database, artifacts = bench.runtime.database, bench.runtime.artifacts
    stopped = bench.stop(job_id, lambda: artifacts.exists(f"jobs/{job_id}/mask"))
    own = f"backbones/{stopped.models['erm']}"
    empty_trash(bench)
    assert artifacts.exists(own), "the job may go on at any time"
    with database.begin() as session:
        jobs.cancel(session, job_id)
    empty_trash(bench)
    assert not artifacts.exists(own)
    with database.begin() as session:
        jobs.resume(session, job_id)
    (job,) = bench.succeed(job_id)
    stages = ("erm", "finetune", "control")
    assert [job.done[s]["weights"] for s in stages] == [masktune.done[s]["weights"] for s in stages]


def test_figures_from_features_are_those_of_whole_forward_passes(bench: Bench, masktune: JobRow) -> None:
    """A predict job runs the whole network on each image."""
    model = {"model": masktune.models["masktune"]}
    params = {"split": "test", "output": "csv"}
    job = bench.succeed(bench.run(JobKind.PREDICT, params=params, inputs=model))[0]
    with (bench.folder(job.done["predict"]["artifact"]) / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    figures = bench.report_json(masktune)["metrics"]["test"]["masktune"]
    assert len(rows) == figures["n"]
    assert sum(row["label"] == row["predicted"] for row in rows) == figures["correct"]
