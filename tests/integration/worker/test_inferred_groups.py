"""Groups of data that nobody labelled, of jobs of each kind, and what the report makes of them."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.queries import registry
from core.tables import JobRow
from masktune.cli.report import conclusions
from masktune.contract.report.text.verdict import verdict
from masktune.contract.vocabulary import Arm, JobKind, Stage
from models.data.store import Store
from models.mitigation.pattern_judge import PatternJudge
from tests.support.jobs.bench import Bench
from tests.support.jobs.real_jobs import hyperparameters
from tests.support.seeds import shifted
from worker.networks.patterns import JUDGE
from worker.stages.infer_groups import InferredGroups

pytestmark = pytest.mark.trains

TRAINING: dict[str, Any] = {"image_size": 16, "epochs": 2, "batch_size": 32, "seed": shifted(1)}


@pytest.fixture(scope="module")
def masktune(golden_bench: Bench) -> JobRow:
    """The same digits, their whole network trained here, then past its masks."""
    return golden_bench.succeed(golden_bench.run(JobKind.MASKTUNE, params=hyperparameters(**TRAINING)))[0]


def _inferred(bench: Bench, job: JobRow) -> InferredGroups:
    return InferredGroups.load(bench.folder(job.done[Stage.INFER_GROUPS]["artifact"]))


def _predicted(bench: Bench, job: JobRow, arm: Arm, **options: Any) -> tuple[list[str], list[str]]:
    """The patterns that a predict job names on test, and those that `job` inferred."""
    params = {"split": "test", "output": "parquet"} | options
    model = {"model": job.models[arm]}
    (predict,) = bench.succeed(bench.run(JobKind.PREDICT, inputs=model, params=params))
    table = pq.read_table(bench.folder(predict.done["predict"]["artifact"]) / "predictions.parquet")
    classes = Store.open(bench.folder(f"datasets/{bench.dataset_id}")).classes
    patterns = _inferred(bench, job).patterns[table["row"].to_numpy()]
    assert len(set(patterns)) == len(classes)
    return table["pattern"].to_pylist(), [classes[pattern] for pattern in patterns]


def test_a_network_trained_here_sees_the_pattern_of_any_image(golden_bench: Bench, masktune: JobRow) -> None:
    inferred = _inferred(golden_bench, masktune)
    assert inferred.facts["model"] == masktune.models[Arm.ERM]
    store = Store.open(golden_bench.folder(f"datasets/{golden_bench.dataset_id}"))
    lacks = np.array(["lacks" in store.sample(row).path for row in range(len(store))])
    named = (inferred.patterns >= 0) & (inferred.patterns != store.labels)
    assert inferred.facts["reason"] == "stages_agree"
    # How many are named depends on the processor that trained: `benchmarks.finder` measures it.
    assert named[lacks].mean() > 5 * named[~lacks].mean()


def test_its_judge_is_stored_with_the_model_whose_network_it_reads(
    golden_bench: Bench, masktune: JobRow
) -> None:
    with golden_bench.runtime.database.read() as session:
        judges = {arm: registry.get(session, id).pattern_judge for arm, id in masktune.models.items()}
    stored = judges.pop(Arm.ERM)
    assert stored is not None
    assert list(judges.values()) == [None, None]
    assert (stored["job"], stored["module"]) == (
        masktune.id,
        _inferred(golden_bench, masktune).facts["stage"],
    )
    judge = PatternJudge.load(golden_bench.folder(stored["artifact"]) / JUDGE)
    assert judge.stage == stored["module"]


@pytest.mark.parametrize(
    ("arm", "options"),
    [
        (Arm.ERM, {}),
        (Arm.ERM, {"explain": True, "method": "xgradcam"}),
        (Arm.ERM, {"explain": True, "method": "fullgrad"}),  # runs a copy of the network again
        (Arm.MASKTUNE, {}),
        (Arm.MASKTUNE_CONTROL, {"explain": True, "method": "xgradcam"}),
    ],
)
def test_predictions_say_which_pattern_an_image_shows(
    golden_bench: Bench, masktune: JobRow, arm: Arm, options: dict[str, Any]
) -> None:
    predicted, inferred = _predicted(golden_bench, masktune, arm, **options)
    assert predicted == inferred


@pytest.mark.parametrize("arm", [Arm.RETRAINED, Arm.RETRAINED_CONTROL])
def test_a_retrained_last_layer_goes_by_the_judge_of_the_network_below(
    golden_bench: Bench, golden_job: JobRow, arm: Arm
) -> None:
    predicted, inferred = _predicted(golden_bench, golden_job, arm)
    assert predicted == inferred


def test_where_nobody_inferred_patterns_the_column_is_empty(golden_bench: Bench, masktune: JobRow) -> None:
    model = golden_bench.untrained(golden_bench.load(masktune.models[Arm.ERM])[1].classes)
    (job,) = golden_bench.succeed(
        golden_bench.run(JobKind.PREDICT, inputs={"model": model}, params={"split": "test", "output": "csv"})
    )
    with (golden_bench.folder(job.done["predict"]["artifact"]) / "predictions.csv").open() as file:
        assert {row["pattern"] for row in csv.DictReader(file)} == {""}


def test_its_report_measures_by_them(golden_bench: Bench, masktune: JobRow) -> None:
    report = golden_bench.report(masktune)
    assert report.inferred_groups is not None
    assert report.inferred_groups.decide
    assert report.recommendation is not None
    names = {group.name for group in report.metrics["test"][Arm.MASKTUNE].groups}
    assert {"low · own pattern", "high · own pattern"} < names
    test = report.inferred_groups.splits["test"]
    assert 0 < test.lacking.n < test.rest.n
    assert test.lacking.n + test.rest.n <= test.n  # without those whose label looks wrong
    assert [point.share for point in test.mix[Arm.ERM]][:2] == [0.05, 0.1]


def test_where_too_few_test_images_lack_the_pattern_the_report_says_why_it_cannot_tell(
    golden_bench: Bench, golden_job: JobRow
) -> None:
    report = golden_bench.report(golden_job)
    assert report.verdict is not None
    is_less_often_right = report.verdict.deciding_difference.high < 0
    assert report.verdict.reason == ("shortcut_or_harm" if is_less_often_right else "few_lacking")
    sentence = verdict(report).sentence
    assert any(sentence in conclusion for conclusion in conclusions(report))
    assert sentence in golden_bench.page(golden_job)
