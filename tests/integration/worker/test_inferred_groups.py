"""Groups of data that nobody labelled, of jobs of each kind, and what the report makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.tables import JobRow
from masktune.contract.vocabulary import Arm, JobKind, Stage
from models.data.store import Store
from models.mitigation.pattern_judge import PatternJudge
from tests.integration.worker.bench import Bench
from tests.integration.worker.real_jobs import hyperparameters
from worker.stages.infer_groups import JUDGE, InferredGroups

TRAINING: dict[str, Any] = {"image_size": 16, "epochs": 12, "batch_size": 32, "seed": 1}


@pytest.fixture(scope="module")
def masktune(golden_bench: Bench) -> JobRow:
    """The same digits, their whole network trained here, then past its masks."""
    return golden_bench.succeed(golden_bench.run(JobKind.MASKTUNE, params=hyperparameters(**TRAINING)))[0]


def test_a_network_trained_here_sees_the_pattern_of_any_image(golden_bench: Bench, masktune: JobRow) -> None:
    folder = golden_bench.folder(masktune.done[Stage.INFER_GROUPS]["artifact"])
    inferred = InferredGroups.load(folder)
    assert inferred.facts["model"] == masktune.models[Arm.ERM]
    store = Store.open(golden_bench.folder(f"datasets/{golden_bench.dataset_id}"))
    lacks = np.array(["lacks" in store.sample(row).path for row in range(len(store))])
    named = (inferred.patterns >= 0) & (inferred.patterns != store.labels)
    assert inferred.facts["reason"] == "stages_agree"
    assert lacks[named].mean() >= 0.8
    assert named[lacks].mean() >= 0.7
    assert PatternJudge.load(folder / JUDGE).stage == inferred.facts["stage"]


def test_its_report_measures_by_them(golden_bench: Bench, masktune: JobRow) -> None:
    report = golden_bench.report(masktune)
    assert report.inferred_groups is not None
    assert report.inferred_groups.decide
    assert report.recommendation is not None
    names = {group.name for group in report.metrics["test"][Arm.MASKTUNE].groups}
    assert {"low · own pattern", "high · own pattern"} < names
    test = report.inferred_groups.splits["test"]
    assert test.lacking.n + test.rest.n == test.n
    assert [point.share for point in test.mix[Arm.ERM]][:2] == [0.05, 0.1]
