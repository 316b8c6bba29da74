"""What to do next, in words, and the command that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from masktune.contract.hyperparameters import Gate
from masktune.contract.report.groups import EarlyStageGroups
from masktune.contract.report.recommendation import (
    AddTestImages,
    LabelMore,
    RecommendationReason,
    ReviewImages,
    UseControl,
    UseModel,
)
from masktune.contract.report.report import Report
from masktune.contract.report.text.groups import groups_warning
from masktune.contract.report.text.names import (
    ARM_NAMES,
    arm_after,
    arm_before,
    capitalised,
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
    "val_groups": "The labelled groups of the validation split show that it is better than its control where "
    "that is worst.",
    "groups_labelled": "Its last layer was balanced over the labelled groups.",
    "groups_inferred": "Its last layer gives more weight to images that seem to lack a pattern which the "
    "other images of their class share.",
    "masktune_helped": "It is better than its control on the test split.",
    "no_minority": "No images were found that lack a pattern which the others of their class share, so the "
    "last layer could not be balanced over them.",
    "no_gain": "{} is not better than it.",
    "hurt": "{} is worse than it.",
    "not_above_chance": "On the validation images, the models cannot be told from guessing, so none of them "
    "is recommended.",
}


REVIEW_GUESS = "guess: lacks what the others of its class share"
"""What an image is that a person is asked to look at."""
REVIEW_ANSWERS: Mapping[Gate, str] = {
    "open": "They lack something the others share",
    "closed": "I see no such thing",
}
"""What the person may answer, by the gate of the job that starts then."""
REVIEW_CONFIRMED = "This job went by that already, so there is nothing to start again."
"""For an answer that is what the job went by."""


def recommendation_reason(report: Report) -> str:
    """Why this model is recommended, or none; "" for a report without a recommendation."""
    if report.recommendation is None:
        return ""
    groups, reason = report.groups, report.recommendation.reason
    if reason == "no_minority" and isinstance(groups, EarlyStageGroups) and not groups.details.searched:
        return groups_warning(groups)
    return _REASONS[reason].format(capitalised(within_sentence(arm_after(report))))


def next_steps(report: Report) -> tuple[Step, ...]:
    """What to do, the most important first; empty for a report without a recommendation."""
    if report.recommendation is None:
        return ()
    return tuple(_STEPS[type(step)](step, report) for step in report.recommendation.next)


def _use(step: UseModel | UseControl, report: Report) -> Step:
    command = f"masktune models alias production {step.model}"
    return Step(step.step, f"Use {_called(step.arm)}", recommendation_reason(report), command)


def _add_test_images(step: AddTestImages, report: Report) -> Step:
    subjects = "" if step.subjects is None else f", of at least {step.subjects} subjects in each class"
    return Step(
        step.step,
        "Bring test images that break the pattern",
        "The test images cannot show whether a model relies on a pattern, for they may have it too. Bring "
        f"about {step.per_class} images of each class without what usually goes with it, such as water birds "
        f"on land{subjects}, and label their groups.",
    )


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


def _review_images(step: ReviewImages, report: Report) -> Step:
    of = f"--dataset {report.dataset.id}"
    if report.kind is JobKind.RETRAIN_HEAD:
        of = f"--model {report.models[arm_before(report)].id}"
    return Step(
        step.step,
        f"Look at {len(step.samples)} images",
        "They are a guess: training images that most likely lack a pattern which the other images of their "
        "class share, such as a background. Say whether they do: if so, the job starts again with its gate "
        "open, else with it closed.",
        f"masktune jobs start {report.kind.value} {of} --set head.gate=open",
    )


def _called(arm: Arm) -> str:
    """The arm's name as cards and tables have it: there may be two controls."""
    if arm in CONTROLS:
        return f"the {ARM_NAMES[arm].lower()}"
    name = within_sentence(arm)
    return f"the {name} model" if arm in (Arm.ERM, Arm.MASKTUNE) else name


_STEPS: Mapping[type, Callable[[Any, Report], Step]] = {
    UseModel: _use,
    UseControl: _use,
    AddTestImages: _add_test_images,
    LabelMore: _label_more,
    ReviewImages: _review_images,
}
