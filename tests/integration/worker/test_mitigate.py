"""The way past a shortcut as one job: what it trains, and that its models are those of the single jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.tables import JobRow
from masktune.contract.hyperparameters import MitigateConfig, RetrainConfig
from masktune.contract.image_answers import ImageAnswer, ImageAnswers
from masktune.contract.report.groups import EarlyStageGroups, LabelledGroups
from masktune.contract.report.recommendation import ReviewImages
from masktune.contract.report.text import verdict
from masktune.contract.report.text.groups import UNDIVIDED_REASONS
from masktune.contract.report.text.inferred import lacking_sentence
from masktune.contract.vocabulary import STAGES, Arm, JobKind, stages_of
from models.data.store import Store
from tests.support.jobs.bench import Bench
from tests.support.jobs.golden import MASKTUNE
from tests.support.jobs.real_jobs import QUICK, hyperparameters
from tests.support.seeds import shifted
from worker.stages.infer_groups import InferredGroups
from worker.stages.retrain_head import MEMBERS, Members
from worker.stages.seeds import SeedPredictions

TRAINING: dict[str, Any] = {"image_size": 16, "epochs": 2, "batch_size": 32, "seed": shifted(3)}
"""Of the golden job."""
OPEN = QUICK | {"rounds": 0, "gate": "open", "judge_penalties": [10.0], "penalties": [10.0]}
"""Divides the classes with few fits, which a large penalty makes short."""
ARMS = {Arm.ERM, Arm.RETRAINED, Arm.RETRAINED_CONTROL, Arm.MASKTUNE, Arm.MASKTUNE_CONTROL}


def config(**changes: Any) -> dict[str, Any]:
    return MitigateConfig.from_json(hyperparameters(**TRAINING) | {"head": QUICK} | changes).to_json()


def weights(job: JobRow) -> dict[str, str]:
    """The digest of each model's weights, by arm."""
    return {result["model"]["arm"]: result["weights"] for result in job.done.values() if "weights" in result}


def all_arms(**changes: Any) -> dict[str, Any]:
    """Trained as the run's `masktune` job, without the groups of its data set."""
    fields = hyperparameters(**MASKTUNE) | {"head": OPEN, "groups": "early_stages"}
    return MitigateConfig.from_json(fields | changes).to_json()


@pytest.fixture(scope="module")
def whole(digits: Bench) -> JobRow:
    return digits.succeed(digits.run(JobKind.MITIGATE, params=all_arms()))[0]


@pytest.mark.trains
def test_every_arm_is_trained_calibrated_and_compared(digits: Bench, whole: JobRow) -> None:
    assert tuple(whole.done) == stages_of(JobKind.MITIGATE, all_arms())
    assert whole.models.keys() == ARMS
    report = digits.report(whole)
    assert report.models.keys() == report.certificates.keys() == ARMS
    assert {(verdict.a, verdict.b) for verdict in report.verdicts.values()} == {
        (Arm.RETRAINED, Arm.RETRAINED_CONTROL),
        (Arm.MASKTUNE, Arm.MASKTUNE_CONTROL),
    }
    assert report.groups is not None
    assert report.groups.held_out.keys() == {Arm.ERM, Arm.RETRAINED, Arm.RETRAINED_CONTROL}
    assert [cost.stage for cost in report.cost] == list(stages_of(JobKind.MITIGATE, all_arms()))


@pytest.mark.trains
def test_a_guess_is_compared_with_labelled_groups(digits: Bench, whole: JobRow) -> None:
    groups = digits.report(whole).groups
    assert isinstance(groups, EarlyStageGroups)
    store = Store.open(digits.folder(f"datasets/{digits.dataset_id}"))
    members = Members.load(digits.folder(whole.done["retrain_head"]["artifact"]) / MEMBERS)
    counted = members.weights > 0.5 if len(members.weights) else np.ones(len(members.rows), bool)
    for label, name in enumerate(store.classes):
        labelled = store.groups[members.rows[counted & (members.labels == label)]]
        assert groups.details.label_recall[name].n == np.bincount(labelled).min()
    part = "wrong" if groups.details.reason == "class_is_low_level" else "another pattern"
    named = sum(one.n for one in groups.slices if one.name.endswith(part))
    assert sum(one.n for one in groups.details.label_precision.values()) == named


@pytest.mark.trains
def test_the_report_recommends_one_model_and_lists_the_images_behind_it(
    golden_bench: Bench, golden_job: JobRow
) -> None:
    report = golden_bench.report(golden_job)
    assert report.groups is not None
    recommendation = report.recommendation
    assert recommendation is not None
    assert recommendation.arm is not None
    assert (recommendation.arm, recommendation.model) == (report.after, golden_job.models[recommendation.arm])
    steps = [step.step for step in recommendation.next]
    assert steps[:3] == ["use_model", "review_images", "add_test_images"]
    assert steps[3:] in ([], ["check_labels"])  # hard digits may look wrong
    review = next(step for step in recommendation.next if isinstance(step, ReviewImages))
    store = Store.open(golden_bench.folder(f"datasets/{golden_bench.dataset_id}"))
    lack = ["lacks" in store.sample(row).path for row in review.samples]
    assert len(lack) == len(set(review.samples)) > 10
    assert sum(lack) / len(lack) > 0.8


@pytest.mark.trains
def test_nobody_labelled_the_groups_of_any_split(golden_bench: Bench, golden_job: JobRow) -> None:
    """Which image lacks the pattern is in its path, which nothing reads; twelve in test do not decide."""
    report = golden_bench.report(golden_job)
    assert report.dataset.groups == []
    groups, decision = report.inferred_groups, report.verdict
    assert groups is not None
    assert decision is not None
    assert (groups.decide, groups.reason) == (True, "stages_agree")
    assert (decision.inferred, decision.verdict) == (False, "not_testable")
    store = Store.open(golden_bench.folder(f"datasets/{golden_bench.dataset_id}"))
    inferred = InferredGroups.load(golden_bench.folder(golden_job.done["infer_groups"]["artifact"]))
    for split in ("val", "calibration", "test"):
        rows = store.rows(split)
        lacks = np.array(["lacks" in store.sample(row).path for row in rows])
        assert ((inferred.patterns[rows] != store.labels[rows]) == lacks).mean() > 0.97
    test = groups.splits["test"]
    assert test.lacking.accuracies[Arm.RETRAINED].accuracy > test.lacking.accuracies[Arm.ERM].accuracy
    assert {store.labels[one.sample] for one in groups.examples} == {0, 1}
    assert np.mean(["lacks" in one.path for one in groups.examples]) > 0.8
    assert lacking_sentence(report).startswith(f"On the {test.lacking.n} images that lack")
    assert lacking_sentence(report) in verdict(report).sentence


@pytest.mark.trains
def test_labelled_groups_that_divide_a_class_are_balanced_over_by_default(
    digits: Bench, golden_bench: Bench, golden_job: JobRow
) -> None:
    """Whatever a person said of a guess; where there are none, early stages infer them."""
    assert config()["groups"] == golden_job.params["groups"] == "auto"
    assert isinstance(golden_bench.report(golden_job).groups, EarlyStageGroups)
    review = ImageAnswers(
        job="job_1",
        updated_at="2026-01-02T03:04:05Z",
        gate="closed",
        lacking=0,
        answers=[ImageAnswer(sample=0, lacks_pattern=False)],
    )
    params = config(masktune=False, control=False, epochs=1, head=QUICK | {"gate": "closed"}, seeds=2)
    inputs = {"review": review.model_dump(mode="json")}
    job = digits.succeed(digits.run(JobKind.MITIGATE, params=params, inputs=inputs))[0]
    groups = digits.report(job).groups
    assert isinstance(groups, LabelledGroups)
    store = Store.open(digits.folder(f"datasets/{digits.dataset_id}"))
    sizes = [len(store.rows("train", label, group)) for label in (0, 1) for group in (0, 1)]
    assert [part.n for part in groups.slices] == sizes
    assert groups.divided_by_seed == dict.fromkeys((shifted(3), shifted(4)), True)
    assert groups.details.smallest == min(sizes) >= 5
    assert "image_answers" not in digits.report_json(job)["groups"]["details"]
    _, card = digits.load(job.models["retrained"])
    assert card.hyperparameters["retrain_head"]["groups"] == "labels"


@pytest.mark.trains
def test_a_person_may_close_the_gate(golden_bench: Bench, golden_job: JobRow) -> None:
    params = config(masktune=False, head=QUICK | {"gate": "closed"})
    job = golden_bench.succeed(golden_bench.run(JobKind.MITIGATE, params=params))[0]
    report = golden_bench.report(job)
    assert isinstance(report.groups, EarlyStageGroups)
    assert (report.groups.divided, report.groups.details.reason) == (False, "closed")
    assert report.recommendation is not None
    (among_plain,) = report.recommendation.differences
    assert (among_plain.a, among_plain.b, among_plain.split) == (Arm.RETRAINED_CONTROL, Arm.ERM, "test")
    better = Arm.RETRAINED_CONTROL if among_plain.low > 0 else Arm.ERM
    assert (report.recommendation.arm, report.recommendation.reason) == (better, "no_minority")
    assert report.recommendation.model == job.models[better]
    assert weights(job)[Arm.RETRAINED] == weights(job)[Arm.RETRAINED_CONTROL]
    assert weights(job)[Arm.RETRAINED_CONTROL] == weights(golden_job)[Arm.RETRAINED_CONTROL]  # fitted there
    assert report.groups.control_penalty == report.groups.penalty
    assert (report.verdict, report.verdicts) == (None, {})
    assert verdict(report).sentence == UNDIVIDED_REASONS["closed"]


@pytest.mark.trains
def test_a_job_goes_by_what_a_person_said_of_single_images(golden_bench: Bench, golden_job: JobRow) -> None:
    """Also where two stages agree by themselves; nobody is asked again."""
    listed = golden_bench.report(golden_job).recommendation
    assert listed is not None
    wrong, *right = listed.samples_to_review
    said = {wrong: False} | dict.fromkeys(right, True)
    review = ImageAnswers(
        job=golden_job.id,
        created_by_name="Ada",
        updated_at="2026-01-02T03:04:05Z",
        gate="open",
        lacking=len(right),
        answers=[ImageAnswer(sample=sample, lacks_pattern=lacks) for sample, lacks in said.items()],
    ).model_dump(mode="json")
    params = config(masktune=False, head=QUICK | {"gate": "open"})
    job = golden_bench.succeed(golden_bench.run(JobKind.MITIGATE, params=params, inputs={"review": review}))[
        0
    ]
    report = golden_bench.report(job)
    assert isinstance(report.groups, EarlyStageGroups)
    assert report.groups.details.reason == "stages_agree"
    summary = report.groups.details.image_answers
    assert summary is not None
    assert (summary.job, summary.by, summary.answered) == (golden_job.id, "Ada", len(said))
    assert report.recommendation is not None
    assert report.recommendation.samples_to_review == []
    assert report.image_answers is None
    before, after = (
        Members.load(golden_bench.folder(one.done["retrain_head"]["artifact"]) / MEMBERS)
        for one in (golden_job, job)
    )
    assert before.rows[before.assigned != after.assigned].tolist() == [wrong]


@pytest.mark.trains
def test_its_models_are_those_of_the_single_jobs(digits: Bench, masktune: JobRow, whole: JobRow) -> None:
    erm = {"model": masktune.models["erm"]}
    fields = {"head": OPEN, "groups": "early_stages", "seed": shifted(5)}
    params = RetrainConfig.from_json(fields).to_json()
    retrained = digits.succeed(digits.run(JobKind.RETRAIN_HEAD, params=params, inputs=erm))[0]
    assert weights(whole) == weights(masktune) | weights(retrained)
    assert len(set(weights(whole).values())) == len(ARMS)


@pytest.mark.trains
def test_a_further_seed_gives_the_models_of_its_own_job(digits: Bench, whole: JobRow) -> None:
    """Also when it is stopped within that seed's first training."""
    job_id = digits.run(JobKind.MITIGATE, params=all_arms(seed=shifted(4), seeds=2))
    checkpoints = Path(f"{digits.runtime.artifacts.root}/jobs/{job_id}/work/repeat-{shifted(5)}-erm")
    digits.stop(job_id, lambda: any(checkpoints.glob("*")))
    job = digits.succeed(job_id)[0]
    assert list(job.done) == [stage.value for stage in STAGES[JobKind.MITIGATE]]
    report = digits.report(job)
    assert {tuple(one.seed for one in verdict.seeds) for verdict in report.verdicts.values()} == {
        (shifted(4), shifted(5))
    }
    of_seed = SeedPredictions.load(digits.folder(job.done["repeat"]["artifact"]) / f"{shifted(5)}.npz")
    store, metrics = Store.open(digits.folder(f"datasets/{digits.dataset_id}")), digits.report(whole).metrics
    for split, by_arm in of_seed.predictions.items():
        labels = store.labels[store.rows(split)]
        correct = {arm: int((predicted == labels).sum()) for arm, predicted in by_arm.items()}
        assert correct == {arm: metrics[split][arm].correct for arm in ARMS}
    deciding = report.verdicts[Arm.MASKTUNE]
    apart = [one.estimate for one in deciding.seeds]
    assert deciding.deciding_difference.estimate == pytest.approx(sum(apart) / 2)
    assert not checkpoints.exists()
