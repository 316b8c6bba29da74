"""Predict jobs: every image of a data set once, in shards that outlive their process."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.queries import registry
from core.tables import JobRow
from masktune.contract.serving.prediction_table import JobDrift
from masktune.contract.vocabulary import JobKind
from models.data.layout import DatasetInfo
from models.data.store import Store
from tests.support.arrays import Arrays, write_arrays
from tests.support.jobs.bench import Bench
from tests.support.jobs.real_jobs import CLASSES, add_dataset
from tests.support.seeds import shifted
from worker.networks import passes

MANY = 17
BROKEN = {"0-4/cut.png": "truncated", "5-9/words.png": "not_an_image"}


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "SHARD_IMAGES", 8)


@pytest.fixture(scope="module")
def mixed(digits: Bench) -> Store:
    """Forty images, with two files that are none."""
    folder = digits.images.parent / "mixed"
    for source in sorted(digits.images.glob("*/*.png"))[::12][:40]:
        target = folder / source.relative_to(digits.images)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    (folder / "0-4/cut.png").write_bytes(source.read_bytes()[:100])
    (folder / "5-9/words.png").write_text("no image")
    _, dataset = digits.imported({"address": f"file://{folder}"})
    return Store.open(digits.folder(f"datasets/{dataset.id}"))


@pytest.fixture(scope="module")
def many(digits: Bench, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set whose last image would be a shard of its own; some images are without a label."""
    images = np.random.default_rng(shifted(0)).integers(0, 256, (MANY, 28, 28, 3), dtype=np.uint8)
    labels = np.arange(MANY) % 3 - 1
    arrays = Arrays(images, labels, ["test"] * MANY)
    folder = tmp_path_factory.mktemp("many") / "store"
    write_arrays(folder, arrays, DatasetInfo("many", "csv", CLASSES))
    return add_dataset(digits.runtime.database, digits.runtime.artifacts, folder)


def _of_job(digits: Bench, job: JobRow) -> bytes:
    return (digits.folder(job.done["predict"]["artifact"]) / "predictions.parquet").read_bytes()


def _shards(digits: Bench, job_id: str) -> list[Path]:
    work = Path(digits.runtime.artifacts.root) / f"jobs/{job_id}/work"
    return sorted(work.glob("shards-*/*/part.arrow"))


def test_every_image_is_a_row_and_so_is_every_broken_file(digits: Bench, mixed: Store) -> None:
    dataset = mixed.directory.name
    inputs = {"model": digits.untrained(CLASSES)}
    params = {"split": "all", "top_k": 1}
    (job,) = digits.succeed(digits.run(JobKind.PREDICT, dataset_id=dataset, inputs=inputs, params=params))
    rows = pq.read_table(digits.folder(job.done["predict"]["artifact"]) / "predictions.parquet").to_pylist()
    assert [row["row"] for row in rows] == [*range(40), None, None]
    for row in rows[:40]:
        sample = mixed.sample(row["row"])
        assert (row["path"], row["label"]) == (sample.path, CLASSES[sample.label])
        assert row["sha256"] == hashlib.sha256(mixed.image_bytes(row["row"])).hexdigest()
        (likeliest,) = row["candidates"]
        assert (likeliest["label"], row["decision"]) == (row["predicted"], "answer")
        assert likeliest["probability"] == max(row["probabilities"])
        assert (row["abstain_reason"], row["reason"]) == (None, None)
    for row in rows[40:]:
        others = {name: cell for name, cell in row.items() if name not in ("path", "decision", "reason")}
        assert row["decision"] == "unreadable"
        assert set(others.values()) == {None}
    assert {row["path"]: row["reason"].partition(":")[0] for row in rows[40:]} == BROKEN
    counts = {name: job.done["predict"][name] for name in ("rows", "answered", "abstained", "unreadable")}
    assert counts == {"rows": 42, "answered": 40, "abstained": 0, "unreadable": 2}
    assert sum(job.done["predict"]["labels"].values()) == 40


def test_a_split_has_no_rows_for_broken_files(digits: Bench, mixed: Store) -> None:
    inputs = {"model": digits.untrained(CLASSES)}
    (job,) = digits.succeed(
        digits.run(JobKind.PREDICT, dataset_id=mixed.directory.name, inputs=inputs, params={"split": "train"})
    )
    assert (job.done["predict"]["rows"], job.done["predict"]["unreadable"]) == (mixed.counts["train"], 0)


@pytest.mark.trains
def test_why_a_row_has_no_answer(digits: Bench, masktune: JobRow) -> None:
    asked = ({"coverage": 0.5}, {"max_risk": 0.001, "risk_confidence": 0.99})
    ids = [
        digits.run(JobKind.PREDICT, inputs={"model": masktune.models["masktune"]}, params=policy)
        for policy in asked
    ]
    ended = digits.succeed(*ids)
    below, uncertified = (
        pq.read_table(digits.folder(job.done["predict"]["artifact"]) / "predictions.parquet").to_pylist()
        for job in ended
    )
    for row in below:
        assert (row["abstain_reason"] == "below_threshold") == (row["decision"] == "abstain")
    assert {row["abstain_reason"] for row in uncertified} == {"no_certified_threshold"}
    for job, rows in zip(ended, (below, uncertified), strict=True):
        reasons = Counter(row["abstain_reason"] for row in rows if row["abstain_reason"])
        assert job.done["predict"]["abstain_reasons"] == reasons


def test_the_calibration_split_is_like_itself(digits: Bench, many: str) -> None:
    """The test reads the scores from the table: it must count in them what the calibration counted."""
    inputs = {"model": digits.untrained(CLASSES)}
    (before,) = digits.succeed(digits.run(JobKind.PREDICT, inputs=inputs, params={"split": "calibration"}))
    assert before.done["predict"]["drift"] is None
    digits.succeed(digits.run(JobKind.EVALUATE, inputs=inputs, params={"splits": ["test"]}))
    same, few = digits.succeed(
        digits.run(JobKind.PREDICT, inputs=inputs, params={"split": "calibration", "order": "least_sure"}),
        digits.run(JobKind.PREDICT, dataset_id=many, inputs=inputs, params={"split": "all"}),
    )
    look = JobDrift.model_validate(same.done["predict"]["drift"])
    assert [test.name for test in look.tests] == ["surest_50", "surest_80", "surest_95"]
    assert [test.calibration for test in look.tests] == [test.deployed for test in look.tests]
    assert (look.status, look.inputs) == ("no_sign_of_drift", look.tests[0].calibration.n)
    assert few.done["predict"]["drift"]["inputs"] == MANY


def test_a_stopped_job_goes_on_with_its_missing_shards(digits: Bench, many: str) -> None:
    inputs, params = {"model": digits.untrained(CLASSES)}, {"split": "all"}
    (whole,) = digits.succeed(digits.run(JobKind.PREDICT, dataset_id=many, inputs=inputs, params=params))
    rows = pq.read_table(digits.folder(whole.done["predict"]["artifact"]) / "predictions.parquet")
    assert rows["row"].to_pylist() == list(range(MANY))
    assert rows["label"].to_pylist()[:3] == [None, *CLASSES], "no label is none"
    assert [path.parent.name for path in _shards(digits, whole.id)] == ["000000", "000001"]

    job_id = digits.run(JobKind.PREDICT, dataset_id=many, inputs=inputs, params=params)
    stopped = digits.stop(job_id, lambda: bool(_shards(digits, job_id)))
    assert 0.4 < stopped.progress["fraction"] < 1
    (first,) = _shards(digits, job_id)
    written = first.stat().st_mtime_ns
    (job,) = digits.succeed(job_id)
    assert first.stat().st_mtime_ns == written, "it was not computed again"
    assert len(_shards(digits, job_id)) == 2
    assert _of_job(digits, job) == _of_job(digits, whole)


def test_a_model_that_was_calibrated_anew_leaves_no_shard_of_before(digits: Bench, many: str) -> None:
    """A table with two thresholds in it would be no answer to anything."""
    model, params = digits.untrained(CLASSES), {"split": "all", "coverage": 0.5}
    inputs = {"model": model}
    digits.succeed(digits.run(JobKind.EVALUATE, inputs=inputs, params={"splits": ["test"]}))
    job_id = digits.run(JobKind.PREDICT, dataset_id=many, inputs=inputs, params=params)
    digits.stop(job_id, lambda: bool(_shards(digits, job_id)))
    with digits.runtime.database.begin() as session:
        row = registry.get(session, model)
        assert row.calibration is not None
        row.calibration = row.calibration | {"id": "cal_new"}
    digits.succeed(job_id)
    by_basis = Counter(path.parts[-3] for path in _shards(digits, job_id))
    assert by_basis.pop("shards-cal_new") == 2
    assert list(by_basis.values()) == [1]


def test_least_sure_first(digits: Bench, many: str) -> None:
    inputs = {"model": digits.untrained(CLASSES)}
    params = {"split": "test", "order": "least_sure", "output": "csv"}
    (job,) = digits.succeed(digits.run(JobKind.PREDICT, dataset_id=many, inputs=inputs, params=params))
    folder = digits.folder(job.done["predict"]["artifact"])
    rows = pq.read_table(folder / "predictions.parquet")
    scores = rows["score"].to_pylist()
    assert scores == sorted(scores)
    assert sorted(rows["row"].to_pylist()) == list(range(MANY))
    assert len((folder / "predictions.csv").read_text().splitlines()) == MANY + 1
    assert json.loads((folder / "selection.json").read_text())["selection"] is None
