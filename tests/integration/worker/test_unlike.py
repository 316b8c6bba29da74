"""Jobs that calibrate what is unlike the training images, and predictions that abstain on it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.queries import registry
from core.tables import JobRow
from masktune.contract.vocabulary import JobKind, JobState
from models.backbones.network import Network
from models.data.layout import DatasetInfo
from models.data.loading.batches import make_loader
from models.data.loading.loader_settings import LoaderSettings
from models.data.store import Store
from models.mitigation.features import compute_features
from models.run import Run, resolve_device
from models.selective import NEIGHBOURS_FILE, TrainingNeighbours
from models.types import Floats32, Labels
from tests.integration.worker.test_frozen_backbone import frozen
from tests.support.arrays import Arrays, write_arrays
from tests.support.jobs.bench import Bench
from tests.support.jobs.real_jobs import CLASSES, add_dataset
from tests.support.seeds import shifted

SIZES = {"train": 60, "val": 120, "calibration": 80, "test": 40}
STRANGE = 10
"""The last images of `test`, and of `calibration`."""


def add_pictures(bench: Bench, folder: Path, *, subjects: Sequence[str | None] = ()) -> str:
    """A data set of dim grey pictures, the strange ones of bright stripes; its id."""
    rng = np.random.default_rng(shifted(0))
    splits = [split for split, size in SIZES.items() for _ in range(size)]
    labels = np.arange(len(splits)) % 2
    images = rng.integers(60, 100, (len(splits), 28, 28, 1), dtype=np.uint8).repeat(3, axis=3)
    images[labels == 1, :14] += 60
    for split in ("calibration", "test"):
        last = [row for row, name in enumerate(splits) if name == split][-STRANGE:]
        images[last] = rng.integers(0, 256, (STRANGE, 28, 1, 3), dtype=np.uint8)
    write_arrays(
        folder, Arrays(images, labels, splits), DatasetInfo("dim", "csv", CLASSES), subjects=subjects
    )
    return add_dataset(bench.runtime.database, bench.runtime.artifacts, folder)


@pytest.fixture(scope="module")
def dataset(digits: Bench, tmp_path_factory: pytest.TempPathFactory) -> str:
    return add_pictures(digits, tmp_path_factory.mktemp("dim") / "store")


@pytest.fixture(scope="module")
def model(digits: Bench) -> str:
    return digits.untrained(CLASSES)


@pytest.fixture(scope="module")
def evaluated(digits: Bench, dataset: str, model: str) -> JobRow:
    (job,) = digits.succeed(
        digits.run(JobKind.EVALUATE, dataset_id=dataset, inputs={"model": model}, params={})
    )
    return job


def _store(digits: Bench, dataset: str) -> Store:
    return Store.open(digits.folder(f"datasets/{dataset}"))


def _features(network: Network, store: Store, rows: Labels) -> Floats32:
    run = Run(resolve_device("cpu"), seed=shifted(0))
    return compute_features(
        network, make_loader(store, rows, LoaderSettings(network.spec.image_size, 64), run), run
    ).values


def _calibration(job: JobRow) -> dict[str, Any]:
    (calibration,) = job.done["calibrate"]["calibrations"].values()
    return dict(calibration)


def test_neighbours_are_of_train_and_their_threshold_of_val(
    digits: Bench, dataset: str, model: str, evaluated: JobRow
) -> None:
    store, (network, _) = _store(digits, dataset), digits.load(model)
    expected = TrainingNeighbours.fit(
        _features(network, store, store.rows("train")), _features(network, store, store.rows("val"))
    )
    calibration = _calibration(evaluated)
    neighbours = TrainingNeighbours.load(digits.folder(calibration["artifact"]) / NEIGHBOURS_FILE)
    assert (
        calibration["unlike_threshold"] == neighbours.threshold == pytest.approx(expected.threshold, rel=1e-3)
    )
    values = _features(network, store, store.rows("test"))
    np.testing.assert_allclose(neighbours.distances(values), expected.distances(values), atol=1e-4)
    with digits.runtime.database.read() as session:
        stored = registry.get(session, model).calibration
    assert stored is not None
    assert stored["unlike_threshold"] == neighbours.threshold


def test_what_is_unlike_counts_as_not_answered(digits: Bench, dataset: str, evaluated: JobRow) -> None:
    raw = json.loads((digits.folder(_calibration(evaluated)["artifact"]) / "tables.json").read_text())
    table, whole = raw["scores"]["max_softmax"], raw["unlike_answered"]["max_softmax"]
    assert (table["n"], whole["n"], whole["answered"][-1]) == (80, 80, 80)
    assert 65 <= table["answered"][-1] <= 70
    assert sum(one["n"] for one in raw["predicted"]["max_softmax"].values()) == 80


@pytest.mark.parametrize("policy", [{}, {"coverage": 0.8}, {"max_class_risk": 0.99, "risk_confidence": 0.5}])
def test_a_batch_abstains_on_strange_pictures_with_a_policy_and_tells_them_without_one(
    digits: Bench, dataset: str, model: str, evaluated: JobRow, policy: dict[str, float]
) -> None:
    for explain in (False, True):
        params = {"split": "test", "output": "csv", "explain": explain, "method": "xgradcam"} | policy
        (job,) = digits.succeed(
            digits.run(JobKind.PREDICT, dataset_id=dataset, inputs={"model": model}, params=params)
        )
        text = (digits.folder(job.done["predict"]["artifact"]) / "predictions.csv").read_text()
        rows = list(csv.DictReader(text.splitlines()))
        assert [row["unlike_training"] for row in rows[-STRANGE:]] == ["True"] * STRANGE
        assert sum(row["unlike_training"] == "True" for row in rows[:-STRANGE]) <= 2
        strange = {row["decision"] for row in rows if row["unlike_training"] == "True"}
        assert strange == ({"abstain"} if policy else {"answer"})
        assert "answer" in {row["decision"] for row in rows[:-STRANGE]}
        assert all(row["score"] for row in rows)


def test_too_few_images_of_their_own_in_val_call_nothing_unlike(digits: Bench, tmp_path: Path) -> None:
    """Subjects of `train` do not count, and of the others one image each."""
    subjects = [str(row) for row in range(sum(SIZES.values()))]
    subjects[60:82] = ["0"] * 22
    dataset = add_pictures(digits, tmp_path / "store", subjects=subjects)
    model = digits.untrained(CLASSES)
    (job,) = digits.succeed(
        digits.run(JobKind.EVALUATE, dataset_id=dataset, inputs={"model": model}, params={})
    )
    calibration = _calibration(job)
    assert calibration["unlike_threshold"] is None
    assert not (digits.folder(calibration["artifact"]) / NEIGHBOURS_FILE).exists()
    raw = json.loads((digits.folder(calibration["artifact"]) / "tables.json").read_text())
    assert raw["unlike_answered"] == {}
    assert "no input is ever called unlike the training images: that takes 99 images in val" in " ".join(
        digits.logs(job.id)
    )
    params = {"split": "test", "output": "csv", "coverage": 0.9}
    (batch,) = digits.succeed(
        digits.run(JobKind.PREDICT, dataset_id=dataset, inputs={"model": model}, params=params)
    )
    text = (digits.folder(batch.done["predict"]["artifact"]) / "predictions.csv").read_text()
    assert {row["unlike_training"] for row in csv.DictReader(text.splitlines())} == {""}


def test_a_network_that_does_not_end_in_a_linear_layer_calls_nothing_unlike(
    digits: Bench, dataset: str
) -> None:
    model = digits.untrained(CLASSES, backbone="torchvision/squeezenet1_1", size=64)
    (job,) = digits.succeed(
        digits.run(JobKind.EVALUATE, dataset_id=dataset, inputs={"model": model}, params={})
    )
    assert _calibration(job)["unlike_threshold"] is None
    logs = " ".join(digits.logs(job.id))
    assert f"no input of model {model} is ever called unlike the training images" in logs
    assert "does not end in a linear layer" in logs
    params = {"split": "test", "output": "csv", "coverage": 0.9}
    digits.succeed(digits.run(JobKind.PREDICT, dataset_id=dataset, inputs={"model": model}, params=params))


@pytest.mark.trains
def test_a_frozen_backbone_is_compared_by_its_stored_features(digits: Bench, dataset: str) -> None:
    (job,) = digits.succeed(digits.run(JobKind.ERM, dataset_id=dataset, params=frozen(digits)))
    (model,) = job.done["calibrate"]["calibrations"]
    neighbours = TrainingNeighbours.load(digits.folder(_calibration(job)["artifact"]) / NEIGHBOURS_FILE)
    store, (network, _) = _store(digits, dataset), digits.load(model)
    training, held_out = (_features(network, store, store.rows(split)) for split in ("train", "val"))
    expected = TrainingNeighbours.fit(training, held_out)
    assert neighbours.threshold == pytest.approx(expected.threshold, rel=1e-3)
    np.testing.assert_allclose(neighbours.vectors, expected.vectors, atol=1e-3)
    strange = _features(network, store, store.rows("test"))[-STRANGE:]
    assert neighbours.unlike(strange).all()


def test_a_damaged_file_ends_a_batch_with_a_reason(digits: Bench, dataset: str) -> None:
    model = digits.untrained(CLASSES)
    inputs = {"model": model}
    (job,) = digits.succeed(digits.run(JobKind.EVALUATE, dataset_id=dataset, inputs=inputs, params={}))
    (digits.folder(_calibration(job)["artifact"]) / NEIGHBOURS_FILE).write_bytes(b"no archive")
    params = {"split": "test", "output": "csv"}
    (batch,) = digits.done(digits.run(JobKind.PREDICT, dataset_id=dataset, inputs=inputs, params=params))
    assert batch.state is JobState.FAILED
    assert batch.error is not None
    assert batch.error["reason"] == "calibration_unusable"
    assert "neighbours.safetensors holds no training neighbours" in batch.error["detail"]
