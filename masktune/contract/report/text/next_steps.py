"""What to do next, in words, and the command that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from masktune.contract.hyperparameters import Gate
from masktune.contract.report.accuracy import SplitDifference, Standing, VerdictName
from masktune.contract.report.data_steps import DataStep
from masktune.contract.report.groups import EarlyStageGroups
from masktune.contract.report.recommendation import (
    AddTestImages,
    CheckLabels,
    CompareNetworks,
    LabelMore,
    Recommendation,
    RecommendationReason,
    ReviewImages,
    TrainMoreSeeds,
    UseControl,
    UseModel,
    WeakGroup,
)
from masktune.contract.report.report import Report
from masktune.contract.report.text.data_steps import data_step
from masktune.contract.report.text.formats import difference_interval, percent, points_apart
from masktune.contract.report.text.groups import answers_sentence, groups_warning
from masktune.contract.report.text.inferred import wrong_labels_sentence
from masktune.contract.report.text.judged_job import (
    judged_by_images,
    judged_job_reason,
    undecided_sentence,
)
from masktune.contract.report.text.names import (
    STATISTICS,
    arm_after,
    arm_before,
    capitalised,
    hurt_in_groups,
    model_name,
    within_sentence,
)
from masktune.contract.vocabulary import CONTROLS, Arm, JobKind


class Step(NamedTuple):
    """One step; `command` is empty where a person must do it. `name` is that of the report's step."""

    name: str
    title: str
    sentence: str
    command: str = ""


_REASONS: Mapping[RecommendationReason, str] = {
    "val_groups": "The labelled groups of the validation split show that it is better than {rival} where "
    "that is worst.",
    "groups_labelled": "Its last layer was balanced over the labelled groups.",
    "groups_inferred": "Its last layer rests on a guess: it counts those training images more that seem to "
    "lack what the others of their class share.",
    "masktune_helped": "It is better than {rival} on the test split.",
    "no_minority": "No images were found that lack a pattern which the others of their class share, so the "
    "last layer could not be balanced over them.",
    "no_gain": "Nothing shows that {after} is better than {rival}.",
    "hurt": "The groups of the {split} split show that {after} is worse than {better} in the worst group.",
    "new_images": "Images that trained none of the job's models judged them.",
    "not_above_chance": "On the validation images, the models that were trained without masks and groups "
    "cannot be told from guessing, so none is recommended.",
}

_SHOWN_BY_TEST: Mapping[VerdictName, str] = {
    "helped": " The test images show that this helped.",
    "no_detectable_effect": " It is not shown to be better: on the test images, a gain cannot be told from "
    "chance.",
    "not_testable": " The test images cannot show whether this helped.",
}
"""What to add to a reason that is a way of training, so that it and the verdict do not seem to disagree."""
_SHOWN_BESIDE_CONTROL: Mapping[tuple[VerdictName, Standing], str] = {
    ("no_detectable_effect", "above"): " The test images show that it is better than plain training, "
    "but not that its groups did that."
}
"""The same, by the verdict and where it stands to plain training."""

_BY_TEST_IMAGES = ("groups_inferred", "masktune_helped", "hurt", "no_gain")
"""Reasons that rest on the groups of the test images, where these decide."""

PATTERN_ANSWERS: Mapping[Gate, str] = {
    "open": "They lack something the others share",
    "closed": "I see no such thing",
}
"""What the person may answer, by the gate of a job that goes by it."""
PATTERN_HINT = "Press an image of which your answer is not true, then answer for the others."
PATTERN_CAPTIONS = (
    "guess: lacks what the others of its class share",
    "exception: your answer is not true of it",
)
"""What an image that a person is asked to look at is before and after it is pressed."""
LABEL_HINT = "If a label looks wrong, and is right, press the image."
LABEL_CAPTIONS = ("guess: its label is wrong", "your answer: its label is right")
"""What an image whose label looks wrong is before and after it is pressed."""
ANSWER_KEPT = "Your answer is kept: the next job on this data set goes by it."
START_AGAIN = "Start this job again"


def recommendation_reason(report: Report) -> str:
    """Why this model is recommended, or none; "" for a report without a recommendation."""
    if report.recommendation is None:
        return ""
    if report.recommendation.reason == "new_images" and report.judged_job is not None:
        return judged_job_reason(report, report.judged_job)
    groups, reason = report.groups, report.recommendation.reason
    if reason == "no_minority" and groups is not None and not groups.divided:
        why = groups_warning(groups)
    else:
        after, rival = arm_after(report), report.verdict.b if report.verdict else arm_before(report)
        better = next((one for one in report.recommendation.differences if one.a is after), None)
        why = _REASONS[reason].format(
            after=within_sentence(after),
            rival="its control" if rival in CONTROLS else model_name(rival),
            split=better.split if better else "test",
            better=model_name(better.b if better else rival),
        )
    if reason in ("groups_inferred", "groups_labelled") and report.verdict is not None:
        decision = report.verdict.verdict, report.verdict.against_erm
        why += _SHOWN_BESIDE_CONTROL.get(decision) or _SHOWN_BY_TEST.get(decision[0], "")
    if report.verdict is not None and report.verdict.a is report.recommendation.arm:
        why += f" But it {hurt}." if (hurt := hurt_in_groups(report.verdict)) else ""
    if report.verdict is not None and report.verdict.inferred and reason in _BY_TEST_IMAGES:
        why += " Which of them lack the pattern is a guess: nobody labelled their groups."
    answers = groups.details.image_answers if isinstance(groups, EarlyStageGroups) else None
    if answers is not None and reason in ("groups_inferred", "no_minority"):
        why += f" {answers_sentence(answers)}"
    return f"{why} {_among_plain(report.recommendation)}".rstrip()


def _among_plain(recommendation: Recommendation) -> str:
    """How the plain model that is recommended compares with the others; "" for any other model."""
    arm = recommendation.arm
    of_arm = [one for one in recommendation.differences if arm in (one.a, one.b)]
    return " ".join(_against(one, one.b if one.a is arm else one.a) for one in of_arm)


def _against(one: SplitDifference, other: Arm) -> str:
    """How the recommended model compares with this one, which is not better."""
    if one.low <= 0 <= one.high:
        recommended = model_name(one.a if one.b is other else one.b)
        return f"{capitalised(model_name(other))} is not shown to be better than {recommended}."
    ahead = one if one.b is other else one.model_copy(update={"low": -one.high, "high": -one.low})
    return (
        f"On the {one.split} split, its {STATISTICS[one.statistic][0].lower()} is "
        f"{points_apart(abs(one.estimate))} that of {model_name(other)} "
        f"({difference_interval(ahead)})."
    )


def next_steps(report: Report) -> tuple[Step, ...]:
    """What to do, the most important first; empty for a report without a recommendation."""
    if report.recommendation is None:
        return ()
    return tuple(_STEPS.get(type(step), _on_data)(step, report) for step in report.recommendation.next)


def _on_data(step: DataStep, report: Report) -> Step:
    return Step(step.step, *data_step(step, report))


def _use(step: UseModel | UseControl, report: Report) -> Step:
    title, sentence = f"Use {model_name(step.arm)}", recommendation_reason(report)
    if (weak := step.weak_group) is not None:
        title = f"{capitalised(model_name(step.arm))}: the best of these, and not good enough for {weak.name}"
        sentence += f" {_weak_group(weak, report)}"
    return Step(step.step, title, sentence, f"masktune models alias production {step.model}")


def _weak_group(weak: WeakGroup, report: Report) -> str:
    """How weak the model is in the group, and what can help."""
    others = [n for name, n in weak.train.items() if name != weak.name]
    counts = ""
    if others and weak.name in weak.train:
        counts = f": it has {weak.train[weak.name]:,}, the others have up to {max(others):,}"
    dataset = report.judged_job.dataset if report.judged_job else report.dataset.id
    return (
        f"It is right on {percent(weak.accuracy)} of the test images of {weak.name}. What can help: more "
        f"training images of that group{counts}; another network, which masktune fix {dataset} "
        "--compare-networks measures here; or to abstain where it is unsure."
    )


def _add_test_images(step: AddTestImages, report: Report) -> Step:
    subjects = "" if step.subjects is None else f", of at least {step.subjects} subjects in each class"
    judged = report.judged_job
    if judged is not None:
        title, sentence = "Bring more test images that break the pattern", undecided_sentence(report, judged)
        return Step(step.step, title, sentence, _evaluate(report))
    return Step(
        step.step,
        "Bring test images that break the pattern",
        "The test images cannot show whether a model goes by a pattern: too few of them, or none, are "
        f"known to break it. Bring about {step.per_class} images of each class without what usually goes "
        f"with it, such as water birds on land{subjects}, or label their groups. They judge the models of "
        "this job, and train nothing.",
        _evaluate(report),
    )


def _evaluate(report: Report) -> str:
    job = judged_by_images(report)
    return "" if job is None else f"masktune evaluate {job} FOLDER --breaks-pattern"


def _label_more(step: LabelMore, report: Report) -> Step:
    sentence = (
        f"Bring training images until each class has {step.per_class:,}. With fewer, images that lack a "
        "pattern are too rare to be found."
    )
    if report.recommendation is not None and report.recommendation.arm is None:
        sentence = (
            f"{recommendation_reason(report)} Check the labels, and train longer or with another learning "
            "rate; or bring images, for validation too, until each class has "
            f"{step.per_class:,} to train on."
        )
    return Step(step.step, "Label more images", sentence)


def _compare_networks(step: CompareNetworks, report: Report) -> Step:
    return Step(
        step.step,
        "Compare with a small network",
        f"On the validation images, the best plain model has a balanced accuracy of "
        f"{percent(step.balanced_accuracy)}, guessing {percent(step.chance)}. Its network was trained on "
        "photographs. If these are none, such as spectrograms, a small network trained on them alone may be "
        "better: the command compares both, and goes on with the better one.",
        f"masktune fix {report.dataset.id} --compare-networks",
    )


def _train_more_seeds(step: TrainMoreSeeds, report: Report) -> Step:
    return Step(
        step.step,
        f"Train with {step.seeds} seeds",
        "The verdict is about one training of each model, and another training of a whole network may "
        f"differ. A verdict over {step.seeds} seeds allows for that.",
        f"masktune fix {report.dataset.id} --set masktune=true --set seeds={step.seeds}",
    )


def _review_images(step: ReviewImages, report: Report) -> Step:
    title = f"Look at {len(step.samples)} images"
    answers = report.image_answers
    if answers is None:
        return Step(
            step.step,
            title,
            "They are a guess: training images that most likely lack a pattern which the other images of "
            "their class share, such as a background. Say whether they do: the answer is kept, and the next "
            "job on this data set goes by it.",
            f"masktune jobs image-answers {report.job} --yes",
        )
    used = "This job went by the opposite. Start it again: it then goes by these answers."
    if gate_of(report) == answers.gate:
        used = "This job went by that already, and the next one on this data set goes by these answers."
    if answers.gate == "open" and answers.needed is None:
        used += " No verdict rests on them: they do not show that half of such images lack it."
    elif answers.gate == "open" and answers.needed:
        used += (
            f" No verdict rests on them yet: of the images that were drawn at random, {answers.needed} "
            "more would have to lack it."
        )
    return Step(
        step.step,
        title,
        f"{answers_sentence(answers)} {used}",
        f"masktune jobs start {report.kind.value} {_of_the_same(report)}",
    )


def _check_labels(step: CheckLabels, report: Report) -> Step:
    return Step(
        step.step,
        f"Check {step.n:,} labels",
        f"{wrong_labels_sentence(report)} Look at them, correct the wrong ones and import the images again."
        + (
            " Where a label is right, say so beside the images to look at: the next job on this data set "
            "does not doubt it."
            if report.recommendation is not None and report.recommendation.samples_to_review
            else ""
        ),
        f"masktune datasets samples {report.dataset.id} --inferred-by {report.job} --label-looks-wrong",
    )


def gate_of(report: Report) -> Gate:
    """By which gate the job went, whoever decided it."""
    return "open" if report.groups is not None and report.groups.divided else "closed"


def _of_the_same(report: Report) -> str:
    """The option that names what the job was started with."""
    if report.kind is JobKind.RETRAIN_HEAD:
        return f"--model {report.models[arm_before(report)].id}"
    return f"--dataset {report.dataset.id}"


_STEPS: Mapping[type, Callable[[Any, Report], Step]] = {
    UseModel: _use,
    UseControl: _use,
    AddTestImages: _add_test_images,
    LabelMore: _label_more,
    CompareNetworks: _compare_networks,
    TrainMoreSeeds: _train_more_seeds,
    ReviewImages: _review_images,
    CheckLabels: _check_labels,
}
