"""The reject option of batch jobs: what is calibrated, and that a score that is not finite abstains."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core.queries import registry
from core.tables import DatasetRow, JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, JobKind
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.layout import DatasetInfo
from models.data.loading.batches import make_loader
from models.data.loading.loader_settings import LoaderSettings
from models.data.store import Store
from models.evaluation.metrics import Logits, predict_logits
from models.export import card_of, load_model, save_model
from models.run import Run
from models.selective import CalibrationTable, fit_temperature, log_softmax, score
from tests.support.arrays import Arrays, write_arrays
from tests.support.jobs.bench import Bench
from tests.support.jobs.real_jobs import CLASSES, add_dataset
from tests.support.rows import model_row


@pytest.fixture(scope="module")
def model(digits: Bench) -> str:
    """A model with an ERM half, both with random weights."""
    erm = _imported(digits, build_network("small_cnn", classes=2, image_size=28, seed=1), None)
    return _imported(digits, build_network("small_cnn", classes=2, image_size=28, seed=2), erm)


@pytest.fixture(scope="module")
def evaluated(digits: Bench, model: str) -> JobRow:
    """The job that calibrated it."""
    (job,) = digits.succeed(digits.run(JobKind.EVALUATE, inputs={"model": model}, params={}))
    return job


@pytest.fixture(scope="module")
def copied(digits: Bench) -> tuple[int, DatasetRow]:
    """How many pictures a data set has in each split, and that data set: three of each in `test` and in
    `calibration`, where those of `train` stand, too."""
    images = digits.images.parent / "copies"
    found = sorted(digits.images.glob("*/*.png"))
    seen, unseen = found[:-4:8], found[4::8]
    splits = {"train": (seen, 1), "val": (seen, 1), "test": (seen, 3)}
    for split, (sources, copies) in (
        *splits.items(),
        ("calibration", (unseen, 3)),
        ("calibration", (seen, 1)),
    ):
        for source in sources:
            for number in range(copies):
                target = images / split / source.parent.name / f"{source.stem}-{number}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    assert len(seen) == len(unseen)
    _, dataset = digits.imported({"address": f"file://{images}"})
    return len(list(images.glob("train/*/*"))), dataset


def test_a_picture_counts_once_however_many_copies_there_are(
    digits: Bench, copied: tuple[int, DatasetRow], model: str
) -> None:
    """Copies err together: counted as samples of their own, they certify what is not so, and prove a
    difference. And of what a model was fitted to a certificate says too much."""
    pictures, dataset = copied
    left_out = {"calibration": 3 * pictures, "test": 2 * pictures}
    given = {"model": model}
    (job,) = digits.succeed(digits.run(JobKind.EVALUATE, dataset_id=dataset.id, inputs=given, params={}))
    (calibration,) = job.done["calibrate"]["calibrations"].values()
    assert (calibration["n"], calibration["copies_left_out"]) == (pictures, left_out["calibration"])
    raw = json.loads((digits.folder(calibration["artifact"]) / "tables.json").read_text())
    assert (raw["n"], raw["copies_left_out"]) == (pictures, left_out["calibration"])
    assert raw["scores"]["max_softmax"]["answered"][-1] == pictures
    assert sum(table["n"] for table in raw["classes"]["max_softmax"].values()) == pictures
    assert f"{left_out['calibration']} copies of pictures" in " ".join(digits.logs(job.id))
    report = digits.report_json(job)
    assert report["metrics"]["test"]["masktune"]["n"] == 3 * pictures
    for split, others in left_out.items():
        curve = report["risk_coverage"][split]["masktune"]
        assert (curve["n"], curve["copies_left_out"]) == (pictures, others)
    assert report["risk_coverage"]["val"]["masktune"]["copies_left_out"] == 0
    assert report["certificates"]["masktune"]["copies_left_out"] == left_out["calibration"]
    assert f"{left_out['calibration']} copies of " in digits.page(job)
    assert {difference["n"] for difference in report["differences"]["test"]} == {pictures}
    assert {cost["n"] for cost in report["masking_cost"]["test"].values()} == {pictures}
    signs = {
        sign["name"]: sign["n"] for sign in report["shortcut_reliance"]["signs"] if sign["kind"] == "failure"
    }
    assert signs == {"shift": pictures}


def test_one_image_of_each_subject_counts_and_no_subject_that_models_were_fitted_on(
    digits: Bench, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28, 3), dtype=np.uint8)
    splits = ["train"] * 8 + ["val"] * 4 + ["calibration"] * 40 + ["test"] * 8
    calibration = [f"patient {number // 4}" for number in range(32)] + ["fitted"] * 4 + [None] * 4
    subjects = ["fitted"] * 12 + calibration + ["p", "p", None, None, "q", "q", "q", "q"]
    arrays = Arrays(images, np.arange(60) % 2, splits)
    write_arrays(tmp_path / "store", arrays, DatasetInfo("digits", "csv", CLASSES), subjects=subjects)
    dataset_id = add_dataset(digits.runtime.database, digits.runtime.artifacts, tmp_path / "store")
    inputs = {"model": digits.untrained(CLASSES)}
    (job,) = digits.succeed(digits.run(JobKind.EVALUATE, dataset_id=dataset_id, inputs=inputs, params={}))
    (counts,) = job.done["calibrate"]["calibrations"].values()
    expected = {"n": 12, "n_subjects": 8, "copies_left_out": 0, "same_subject_left_out": 28}
    assert {name: counts[name] for name in expected} == expected
    raw = json.loads((digits.folder(counts["artifact"]) / "tables.json").read_text())
    assert list(raw["scores"]) == ["max_softmax"], "there is no ERM half to compare with"
    assert raw["scores"]["max_softmax"]["n"] == 12
    assert sum(table["n"] for table in raw["classes"]["max_softmax"].values()) == 12
    assert "28 images were left out of the calibration: one image per subject" in " ".join(
        digits.logs(job.id)
    )
    report = digits.report_json(job)
    certificates = report["certificates"]["imported"]
    assert {name: certificates[name] for name in expected} == expected
    on_test = report["risk_coverage"]["test"]["imported"]
    assert (on_test["n"], on_test["n_subjects"], on_test["same_subject_left_out"]) == (4, 2, 4)
    params = {"split": "test", "output": "csv", "max_risk": 0.5}
    (batch,) = digits.succeed(
        digits.run(JobKind.PREDICT, dataset_id=dataset_id, inputs=inputs, params=params)
    )
    selection = json.loads((digits.folder(batch.done["predict"]["artifact"]) / "selection.json").read_text())
    assert selection["selection"]["method"].endswith("one image per subject, drawn at random")


def _imported(digits: Bench, network: Network, erm: str | None) -> str:
    model_id = new_id("mdl")
    arm = Arm.ERM if erm is None else Arm.MASKTUNE
    with digits.runtime.artifacts.writing(f"models/{model_id}") as folder:
        card = card_of(network, CLASSES, "erm" if erm is None else "masktune")
        save_model(network, card, folder)
    row = model_row(id=model_id, arm=arm, classes=list(CLASSES), erm_id=erm)
    row.artifact = f"models/{model_id}"
    with digits.runtime.database.begin() as session:
        registry.add(session, row)
    return model_id


def _said(digits: Bench, store: Store, model_id: str, split: str) -> Logits:
    with digits.runtime.database.read() as session:
        network, _ = load_model(digits.folder(registry.get(session, model_id).artifact))
    run = Run(torch.device("cpu"), 0)
    return predict_logits(network, make_loader(store, store.rows(split), LoaderSettings(28, 256), run), run)


def test_each_part_is_measured_on_the_split_that_is_its_own(digits: Bench, evaluated: JobRow) -> None:
    store = Store.open(digits.folder(f"datasets/{digits.dataset_id}"))
    (model_id, calibration), *_ = evaluated.done["calibrate"]["calibrations"].items()
    raw: dict[str, Any] = json.loads((digits.folder(calibration["artifact"]) / "tables.json").read_text())
    with digits.runtime.database.read() as session:
        row = registry.get(session, model_id)
    assert row.calibration is not None
    assert row.erm_id is not None
    assert set(raw["scores"]) == {"max_softmax", "product", "minimum"}
    assert {table["n"] for table in raw["scores"].values()} == {store.counts["calibration"]}
    own, erm = (_said(digits, store, id, "calibration") for id in (model_id, row.erm_id))
    assert raw["agreement"] == {
        "n": len(own.rows),
        "disagree": int((own.predictions != erm.predictions).sum()),
    }
    for label, name in enumerate(CLASSES):
        inside = own.labels == label
        values = score("minimum", own.logits, erm.logits).scores[inside]
        table = CalibrationTable.from_json(raw["classes"]["minimum"][name])
        assert (table.n, table.wrong[-1]) == (inside.sum(), (own.predictions != own.labels)[inside].sum())
        assert np.allclose(
            np.sort(values), np.sort(np.repeat(table.thresholds, np.diff(table.answered, prepend=0)))
        )
    val = _said(digits, store, model_id, "val")
    assert raw["temperature"]["split"] == "val"
    assert raw["temperature"]["n"] == len(val.rows)
    assert raw["temperature"]["value"] == pytest.approx(fit_temperature(val.logits, val.labels), rel=1e-4)
    assert row.calibration["temperature"] == raw["temperature"]["value"]


def test_a_batch_has_one_confidence_at_the_temperature(digits: Bench, evaluated: JobRow) -> None:
    store = Store.open(digits.folder(f"datasets/{digits.dataset_id}"))
    (model_id, calibration), *_ = evaluated.done["calibrate"]["calibrations"].items()
    params = {"split": "test", "output": "parquet", "coverage": 0.5}
    (job,) = digits.succeed(digits.run(JobKind.PREDICT, inputs={"model": model_id}, params=params))
    rows = pq.read_table(digits.folder(job.done["predict"]["artifact"]) / "predictions.parquet").to_pylist()
    logits = _said(digits, store, model_id, "test").logits
    shown = np.array([row["probabilities"] for row in rows])
    expected = np.exp(log_softmax(logits, calibration["temperature"]))
    assert np.allclose(shown, expected, atol=1e-5)
    assert np.allclose([row["score"] for row in rows], expected.max(1), atol=1e-5)


def test_the_tables_by_class_are_those_of_the_calibration_split(digits: Bench, evaluated: JobRow) -> None:
    store = Store.open(digits.folder(f"datasets/{digits.dataset_id}"))
    (model_id, calibration), *_ = evaluated.done["calibrate"]["calibrations"].items()
    raw: dict[str, Any] = json.loads((digits.folder(calibration["artifact"]) / "tables.json").read_text())
    own = _said(digits, store, model_id, "calibration")
    logs = log_softmax(own.logits, calibration["temperature"])
    assert list(raw["true_log_probabilities"]) == list(CLASSES)
    for label, name in enumerate(CLASSES):
        expected = -np.sort(-logs[own.labels == label, label])
        assert np.allclose(raw["true_log_probabilities"][name], expected, atol=1e-5)
        inside = own.predictions == label
        table = raw["predicted"]["max_softmax"].get(name, {"n": 0, "wrong": [0]})
        assert (table["n"], table["wrong"][-1]) == (inside.sum(), (own.labels != label)[inside].sum())


def test_a_batch_keeps_promises_by_class_and_has_label_sets(digits: Bench, evaluated: JobRow) -> None:
    model_id = next(iter(evaluated.done["calibrate"]["calibrations"]))
    params = {"split": "test", "max_class_risk": 0.9, "max_missed": 0.9, "risk_confidence": 0.5}
    params |= {"set_coverage": 0.9}
    parquet, text = digits.succeed(
        *(
            digits.run(JobKind.PREDICT, inputs={"model": model_id}, params=params | {"output": output})
            for output in ("parquet", "csv")
        )
    )
    folder = digits.folder(parquet.done["predict"]["artifact"])
    facts = json.loads((folder / "selection.json").read_text())
    rows = pq.read_table(folder / "predictions.parquet").to_pylist()
    least = {
        promise["label"]: promise["threshold"]
        for promise in facts["selection"]["promises"]
        if promise["statement"] == "risk"
    }
    assert facts["selection"]["policy"] == "by_class"
    assert any(threshold is not None for threshold in least.values())
    for row in rows:
        likeliest = CLASSES[int(np.argmax(row["probabilities"]))]
        answers = least[likeliest] is not None and row["score"] >= least[likeliest]
        assert row["predicted"] == (likeliest if answers else None)
    always = facts["sets"]["always"]
    assert (facts["sets"]["coverage"], facts["sets"]["samples_at_least"]) == (0.9, 9)
    assert set(facts["sets"]) == {"coverage", "samples_at_least", "lowest", "always"}
    assert all(set(always) <= set(row["labels"]) <= set(CLASSES) for row in rows)
    covered = [row["label"] in row["labels"] for row in rows]
    assert np.mean(covered) > 0.7
    file = digits.folder(text.done["predict"]["artifact"]) / "predictions.csv"
    with file.open(newline="") as lines:
        assert [json.loads(row["labels"]) for row in csv.DictReader(lines)] == [row["labels"] for row in rows]


def test_a_batch_that_cannot_promise_it_for_every_class_fails_if_it_is_told_to(
    digits: Bench, evaluated: JobRow
) -> None:
    model_id = next(iter(evaluated.done["calibrate"]["calibrations"]))
    params = {"split": "test", "max_missed": 0.001, "on_uncertified": "error"}
    (job,) = digits.done(digits.run(JobKind.PREDICT, inputs={"model": model_id}, params=params))
    assert job.error is not None
    assert job.error["reason"] == "not_certifiable"
    assert f"“{CLASSES[0]}” answered as another class (" in job.error["detail"]


def test_a_batch_by_a_calibration_that_was_imported_with_the_model_has_no_policy(digits: Bench) -> None:
    """Version 0.1.0 did so. The temperature of the probabilities stays."""
    model = _imported(digits, build_network("small_cnn", classes=2, image_size=28, seed=4), None)
    digits.succeed(digits.run(JobKind.EVALUATE, inputs={"model": model}, params={}))

    def probabilities() -> list[list[dict[str, Any]]]:
        params = {"split": "test", "output": "parquet"}
        (job,) = digits.succeed(digits.run(JobKind.PREDICT, inputs={"model": model}, params=params))
        table = pq.read_table(digits.folder(job.done["predict"]["artifact"]) / "predictions.parquet")
        return [row["candidates"] for row in table.to_pylist()]

    before = probabilities()
    with digits.runtime.database.begin() as session:
        row = registry.get(session, model)
        assert row.calibration is not None
        row.calibration = row.calibration | {"imported_from": new_id("mdl")}
    assert probabilities() == before
    params = {"split": "test", "coverage": 0.9}
    (job,) = digits.done(digits.run(JobKind.PREDICT, inputs={"model": model}, params=params))
    assert job.error is not None
    assert job.error["reason"] == "not_calibrated"
    assert "imported with a calibration of another service's images" in job.error["detail"]
    digits.succeed(digits.run(JobKind.EVALUATE, inputs={"model": model}, params={}))
    digits.succeed(digits.run(JobKind.PREDICT, inputs={"model": model}, params=params))


@pytest.mark.parametrize("policy", [{}, {"min_score": 0.5}])
def test_a_score_that_is_not_finite_abstains(digits: Bench, policy: dict[str, float]) -> None:
    network = build_network("small_cnn", classes=2, image_size=28, seed=3)
    broken = list(network.model.parameters())[-1]
    with torch.no_grad():
        broken[0] = float("nan")
    model = _imported(digits, network, None)
    if policy:  # it needs a calibration, which here answers nothing
        digits.succeed(digits.run(JobKind.EVALUATE, inputs={"model": model}, params={}))
    asked = [{"split": "test", "output": output} | policy for output in ("parquet", "csv")]
    parquet, text = digits.succeed(
        *(digits.run(JobKind.PREDICT, inputs={"model": model}, params=params) for params in asked)
    )
    folder = digits.folder(parquet.done["predict"]["artifact"])
    for row in pq.read_table(folder / "predictions.parquet").to_pylist():
        assert (row["decision"], row["predicted"], row["score"]) == ("abstain", None, None)
    assert parquet.done["predict"]["answered"] == text.done["predict"]["answered"] == 0
    file = digits.folder(text.done["predict"]["artifact"]) / "predictions.csv"
    with file.open(newline="") as lines:
        assert {(row["decision"], row["score"]) for row in csv.DictReader(lines)} == {("abstain", "")}
