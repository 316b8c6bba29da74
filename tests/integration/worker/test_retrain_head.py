"""A last layer retrained over groups, as a job: what it leaves, what it says, how it goes on when stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from core.tables import JobRow, ModelRow
from masktune.contract.hyperparameters import RetrainConfig
from masktune.contract.vocabulary import STAGES, Arm, JobKind, Stage
from models.data.store import Store
from models.mitigation.stage_features import STAGES_FILE
from models.training.checkpoints import weights_digest
from tests.support.jobs.bench import Bench
from tests.support.jobs.golden import MASKTUNE
from tests.support.jobs.real_jobs import QUICK, hyperparameters
from tests.support.seeds import shifted
from worker.networks.features import VALUES
from worker.stages.retrain_head import MEMBERS, Members

pytestmark = pytest.mark.trains

PARAMS = hyperparameters(**MASKTUNE)
FEW_FITS = QUICK | {"rounds": 0, "judge_penalties": [10.0]}
HEAD = FEW_FITS | {"gate": "closed"}
"""Of jobs that go by labels or mistakes, whatever early stages would say."""


def config(**changes: Any) -> dict[str, Any]:
    return RetrainConfig.from_json({"head": HEAD, "seed": shifted(3)} | changes).to_json()


@pytest.fixture(scope="module")
def given(digits: Bench, masktune: JobRow) -> JobRow:
    """The only one of these jobs that infers groups."""
    model, labels = {"model": masktune.models["erm"]}, config(groups="labels", head=FEW_FITS)
    return digits.succeed(digits.run(JobKind.RETRAIN_HEAD, params=labels, inputs=model))[0]


def test_only_the_last_layer_is_new(digits: Bench, masktune: JobRow, given: JobRow) -> None:
    assert tuple(Stage(s) for s in given.done) == STAGES[JobKind.RETRAIN_HEAD]
    with digits.runtime.database.read() as session:
        rows = {r.arm: r for r in session.scalars(select(ModelRow).where(ModelRow.job_id == given.id))}
    assert {arm.value: row.id for arm, row in rows.items()} == given.models
    assert set(rows) == {Arm.RETRAINED, Arm.RETRAINED_CONTROL}
    before, _ = digits.load(masktune.models["erm"])
    for row in rows.values():
        assert row.erm_id == masktune.models["erm"]
        assert row.calibration is not None
        assert set(row.metrics) == {"val", "test"}
        network, card = digits.load(row.id)
        stage = {Arm.RETRAINED: "retrain_head", Arm.RETRAINED_CONTROL: "head_control"}[row.arm]
        assert weights_digest(network.model) == given.done[stage]["weights"]
        assert (card.arm, card.hyperparameters["retrain_head"]["groups"]) == (row.arm, "labels")
        old, new = before.model.state_dict(), network.model.state_dict()
        changed = {name for name in old if not old[name].equal(new[name])}
        last = {id(parameter) for parameter in network.classifier.parameters()}
        assert changed == {name for name, p in network.model.named_parameters() if id(p) in last}


def test_labelled_groups_decide_and_inferred_ones_stand_beside_them(
    digits: Bench, masktune: JobRow, given: JobRow
) -> None:
    assert masktune.done["infer_groups"]["artifact"] is None  # it balances no head over them
    assert digits.report(masktune).inferred_groups is None
    report = digits.report(given)
    assert report.verdict is not None
    assert not report.verdict.inferred
    inferred = report.inferred_groups
    assert inferred is None or not inferred.decide


def test_true_groups_win_the_minority_back(digits: Bench, given: JobRow) -> None:
    report = digits.report_json(given)
    figures = report["metrics"]["val"]
    assert set(figures) == {"erm", "retrained", "retrained_control"}
    assert figures["retrained"]["worst_group_accuracy"] > figures["erm"]["worst_group_accuracy"]
    assert {(d["a"], d["b"]) for d in report["differences"]["test"]} == {
        ("retrained", "erm"),
        ("retrained", "retrained_control"),
    }
    assert (report["verdict"]["a"], report["verdict"]["b"]) == ("retrained", "retrained_control")
    assert [c["stage"] for c in report["cost"]] == [s.value for s in STAGES[JobKind.RETRAIN_HEAD]]


def test_the_report_shows_the_groups(digits: Bench, masktune: JobRow, given: JobRow) -> None:
    model = {"model": masktune.models["erm"]}
    mistakes = config(groups="cross_mistakes")
    guessed = digits.succeed(digits.run(JobKind.RETRAIN_HEAD, params=mistakes, inputs=model))[0]
    store = Store.open(digits.folder(f"datasets/{digits.dataset_id}"))
    n = store.counts["train"]
    for job, inferred in ((given, False), (guessed, True)):
        section = digits.report_json(job)["groups"]
        assert (section["inferred"], section["n"]) == (inferred, n)
        assert section["held_out"] == {"erm": False, "retrained": True, "retrained_control": True}
        assert sum(part["n"] for part in section["slices"]) == n
        members = Members.load(digits.folder(job.done["retrain_head"]["artifact"]) / MEMBERS)
        for number, part in enumerate(section["slices"]):
            mine = members.assigned == number
            assert part["inferred"] is inferred
            right = int((members.before == members.labels)[mine].sum())
            assert (part["accuracies"]["erm"]["n"], part["accuracies"]["erm"]["correct"]) == (
                part["n"],
                right,
            )
            assert sum(part["true_groups"].values()) == part["n"]
            assert 0 < len(part["examples"]) <= 8
            assert {e["sample"] for e in part["examples"]} <= set(members.rows[mine].tolist())
            folder = digits.folder(job.done["evaluate"]["artifact"])
            assert all(Image.open(folder / e["image"]).size == (224, 224) for e in part["examples"])
    assert section["divided"]
    assert len(section["slices"]) == 4  # of either class those judged right and wrong


def test_the_report_has_each_model_by_metadata(digits: Bench, given: JobRow) -> None:
    report = digits.report_json(given)
    section, figures = report["metadata_slices"], report["metrics"]["test"]
    assert [(part["column"], part["value"]) for part in section["slices"]] == [
        ("scanner", "X0"),
        ("scanner", "X1"),
    ]
    for arm, of_arm in figures.items():
        assert sum(part["accuracies"][arm]["correct"] for part in section["slices"]) == of_arm["correct"]


def test_the_head_of_a_masktune_model_without_a_control(digits: Bench, masktune: JobRow) -> None:
    model = {"model": masktune.models["masktune"]}
    asked = config(groups="cross_mistakes", control=False)
    job = digits.succeed(digits.run(JobKind.RETRAIN_HEAD, params=asked, inputs=model))[0]
    assert Stage.HEAD_CONTROL not in job.done
    report = digits.report_json(job)
    assert set(report["models"]) == {"erm", "masktune", "retrained"}
    assert (report["before"], report["verdict"]["b"]) == ("masktune", "masktune")
    assert report["groups"]["held_out"] == {"masktune": False, "retrained": True}
    assert report["groups"]["control_penalty"] is None


def test_a_head_of_a_retrained_head_keeps_the_figures_of_before(digits: Bench, given: JobRow) -> None:
    """The job makes models of both arms itself: theirs must not stand in the place of the given one's."""
    model = given.models["retrained"]
    asked = config(groups="labels")
    job = digits.succeed(digits.run(JobKind.RETRAIN_HEAD, params=asked, inputs={"model": model}))[0]
    report = digits.report_json(job)
    assert report["before"] == "baseline"
    assert {a: m["id"] for a, m in report["models"].items()} == {
        "erm": digits.report_json(given)["models"]["erm"]["id"],
        "baseline": model,
        "retrained": job.models["retrained"],
        "retrained_control": job.models["retrained_control"],
    }
    before = digits.report_json(given)["metrics"]["test"]["retrained"]
    assert report["metrics"]["test"]["baseline"] == before
    assert {d["b"] for d in report["differences"]["test"]} == {"erm", "baseline", "retrained_control"}
    assert report["verdict"]["b"] == "retrained_control"
    assert report["groups"]["held_out"] == {"baseline": False, "retrained": True, "retrained_control": True}
    members = Members.load(digits.folder(job.done["retrain_head"]["artifact"]) / MEMBERS)
    right = int((members.before == members.labels).sum())
    assert sum(part["accuracies"]["baseline"]["correct"] for part in report["groups"]["slices"]) == right
    assert "Baseline" in digits.page(job)


def test_its_models_are_masked_and_tuned_like_others(digits: Bench, given: JobRow) -> None:
    model = {"model": given.models["retrained_control"]}
    mask = digits.run(JobKind.MASK, inputs=model, params=PARAMS)
    tuned = digits.succeed(mask, digits.run(JobKind.FINETUNE, inputs={"mask_set": mask}, params=PARAMS))[1]
    report = digits.report_json(tuned)
    assert (set(report["models"]), report["before"]) == ({"baseline", "masktune"}, "baseline")
    assert {(d["a"], d["b"]) for d in report["differences"]["test"]} == {("masktune", "baseline")}
    assert (report["verdict"]["a"], report["verdict"]["b"]) == ("masktune", "baseline")
    assert (report["saliency"]["before"], report["saliency"]["after"]) == ("baseline", "masktune")
    assert any("fresh optimizer" in line for line in digits.logs(tuned.id))  # a fit leaves no checkpoint


def test_it_goes_on_with_the_features_of_the_last_attempt(
    digits: Bench, masktune: JobRow, given: JobRow
) -> None:
    model = {"model": masktune.models["erm"]}
    job_id = digits.run(JobKind.RETRAIN_HEAD, params=config(groups="labels"), inputs=model)
    work, looks = Path(f"{digits.runtime.artifacts.root}/jobs/{job_id}/work"), 0

    def stop_in_the_fit() -> bool:
        nonlocal looks
        looks += any(work.glob("features-*/*-early"))
        return looks > 3

    assert "retrain_head" not in digits.stop(job_id, stop_in_the_fit).done
    files = sorted(work.glob("features-*/*/*"))
    of_stages = {f"early-{stage}.npy" for stage in range(3)} | {f"axes-{stage}.npz" for stage in range(3)}
    assert {file.name for file in files} == {VALUES, STAGES_FILE} | of_stages
    written = [file.stat().st_mtime_ns for file in files]
    job = digits.succeed(job_id)[0]
    assert [file.stat().st_mtime_ns for file in files] == written
    for stage in ("retrain_head", "head_control"):
        for name in ("weights", "penalty", "groups"):
            assert job.done[stage][name] == given.done[stage][name]
