"""A head retrained over groups that early stages infer: opened by a shortcut, closed without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from core.tables import JobRow
from masktune.contract.hyperparameters import RetrainConfig
from masktune.contract.report.text.groups import UNDIVIDED_REASONS
from masktune.contract.vocabulary import JobKind
from models.data.importing.datasets import import_dataset
from models.data.store import Store
from models.mitigation.finder import jaccard
from tests.integration.worker.bench import Bench, opened_bench
from tests.integration.worker.real_jobs import hyperparameters
from tests.support.biased_digits import make_digits
from worker.stages.heads import MEMBERS, Members

QUICK = {"penalties": [10.0, 0.1], "judge_penalties": [0.1], "folds": 2, "repeats": 1}
PARAMS = RetrainConfig.from_json({"head": QUICK, "seed": 3}).to_json()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """With a data set whose square goes with the class in nine of ten images."""
    folder = tmp_path_factory.mktemp("early")
    import_dataset(make_digits(folder / "images" / "biased", aligned=9), folder / "store")
    with opened_bench(folder, folder / "store") as opened:
        yield opened


@pytest.fixture(scope="module")
def erm(bench: Bench) -> str:
    """The id of a model that was trained whole on the biased data set."""
    params = hyperparameters(image_size=16, epochs=2, batch_size=32)
    model: str = bench.succeed(bench.run(JobKind.ERM, params=params))[0].models["erm"]
    return model


@pytest.fixture(scope="module")
def retrained(bench: Bench, erm: str) -> JobRow:
    return bench.succeed(bench.run(JobKind.RETRAIN_HEAD, params=PARAMS, inputs={"model": erm}))[0]


def groups_of(bench: Bench, job: JobRow) -> dict[str, Any]:
    """The section `groups` of the job's report."""
    report = json.loads((bench.folder(job.done["evaluate"]["artifact"]) / "report.json").read_text())
    section: dict[str, Any] = report["groups"]
    return section


def test_a_shortcut_divides_the_classes_by_who_lacks_it(bench: Bench, retrained: JobRow) -> None:
    section = groups_of(bench, retrained)
    assert (section["source"], section["inferred"], section["divided"]) == ("early_stages", True, True)
    assert section["details"]["reason"] == "stages_agree"
    assert section["details"]["stage"] in {pair["deep"] for pair in section["details"]["agreements"]}
    members = Members.load(bench.folder(retrained.done["retrain_head"]["artifact"]) / MEMBERS)
    names = [part["name"] for part in section["slices"]]
    flagged = np.array([name.endswith("judged wrong") for name in names])[members.assigned]
    store = Store.open(bench.folder(f"datasets/{bench.dataset_id}"))
    lacks = np.array(["lacks" in store.sample(row).path for row in members.rows.tolist()])
    assert jaccard(flagged, lacks) > 0.6
    weights = [retrained.done[stage]["weights"] for stage in ("retrain_head", "head_control")]
    assert weights[0] != weights[1]


def test_without_a_shortcut_the_head_equals_its_control_and_the_log_says_why(bench: Bench) -> None:
    images = make_digits(bench.images / "images" / "unbiased", aligned=5)
    _, dataset = bench.imported({"address": f"file://{images}"})
    params = hyperparameters(image_size=16, epochs=2, batch_size=32)
    erm = bench.succeed(bench.run(JobKind.ERM, dataset_id=dataset.id, params=params))[0].models["erm"]
    job_id = bench.run(JobKind.RETRAIN_HEAD, dataset_id=dataset.id, params=PARAMS, inputs={"model": erm})
    job = bench.succeed(job_id)[0]
    section = groups_of(bench, job)
    assert (section["source"], section["inferred"], section["divided"]) == ("early_stages", False, False)
    assert UNDIVIDED_REASONS[section["details"]["reason"]] in bench.logs(job_id)
    assert [part["name"] for part in section["slices"]] == dataset.classes
    weights = [job.done[stage]["weights"] for stage in ("retrain_head", "head_control")]
    assert weights[0] == weights[1]
