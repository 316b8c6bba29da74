"""What a reader must know of the groups that a last layer was balanced over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from masktune.contract.report.groups import (
    BalancedGroups,
    EarlyStageGroups,
    GroupSlice,
    LabelledGroups,
    StageAgreement,
)
from masktune.contract.report.image_answers import ReportImageAnswers
from masktune.contract.report.text.formats import moment, percent, whole_percent
from masktune.contract.report.text.names import ARM_NAMES

_SOURCES = {
    "labels": "The data set's own groups, which somebody labelled. Here they were trained on: a ceiling for "
    "what a guess could reach.",
    "early_stages": "A guess. The early stages of a network see a pattern such as a background, but hardly "
    "the class. So a classifier on one of them goes by the pattern, and where it is wrong, the image should "
    "be one that lacks the pattern of its class: these are the second group. Each image is judged by "
    "classifiers that were fitted without it.",
    "cross_mistakes": "A guess. A sample is in the second group of its class if heads fitted without it "
    "predict another class; its weight in each group is how confident they are of it.",
}
_LAST_FEATURES = (
    "A guess. Early stages of the network tell the classes apart, so the pattern that misleads it is in its "
    "last features. A sample is in the second group of its class if heads on these, fitted without it, "
    "predict another class; its weight in each group is how confident they are of it."
)
_CLASSES_ALONE = "The classes themselves, for no class was divided."
UNDIVIDED = (
    "No class was divided, so there was nothing to balance over and the retrained head equals its control."
)
_ONE_SIDED = (
    "In each class, fewer than two images were taken to lack its pattern, or fewer than two to have it"
)
UNDIVIDED_REASONS: Mapping[str | None, str] = {
    reason: f"{sentence}, so no class was divided: the retrained head equals its control."
    for reason, sentence in {
        "stages_disagree": "Two stages of the network disagree about which images lack the pattern of their "
        "class",
        "too_few_mistakes": "A classifier on early stages of the network gets too few images wrong to "
        "tell which ones lack the pattern of their class",
        "too_many_mistakes": "A classifier on early stages of the network gets more than a quarter of the "
        "images wrong, too many to be the ones that lack the pattern of their class",
        "wrong_labels": "Most images that seem to lack the pattern of their class have a label that looks "
        "wrong, and too few others are left",
        "too_few_stages": "The network has no two early stages that could be compared",
        "closed": "A person looked at the images that early stages named and found no pattern that they lack",
        "too_many_classes": "Early stages name the images that lack a pattern for up to 100 classes only",
        **dict.fromkeys(("stages_agree", "class_is_low_level", "opened"), _ONE_SIDED),
    }.items()
}
"""By the reason for which early stages divided no class; without statistics, for the log as well."""
_ADVICE = {
    "cross_mistakes": " A backbone that fits every training sample leaves no mistakes to find: try a model "
    "trained for fewer epochs.",
}

_ENOUGH = 10
"""Images of a labelled group: on fewer, a balance rests on single ones."""


def groups_title(groups: BalancedGroups) -> str:
    return "Inferred groups" if groups.inferred else "Balanced groups"


def groups_lead(groups: BalancedGroups) -> str:
    """Where the groups come from."""
    source = _SOURCES[groups.source]
    if not groups.divided and groups.source != "labels":
        source = _CLASSES_ALONE
    elif isinstance(groups, EarlyStageGroups):
        if groups.details.reason == "class_is_low_level":
            source = _LAST_FEATURES
        elif groups.details.reason == "opened":
            source = f"{source} Two stages did not agree on them, but a person who looked at them did."
    elif (
        isinstance(groups, LabelledGroups)
        and groups.divided
        and (groups.details.smallest or _ENOUGH) < _ENOUGH
    ):
        source += (
            f" The smallest of them has only {groups.details.smallest} distinct images in training, on which "
            "the balance rests; copies, and images of one subject, count once."
        )
    if isinstance(groups, EarlyStageGroups) and groups.details.image_answers is not None:
        source = f"{source} {answers_sentence(groups.details.image_answers)}"
    return f"{source} The last layer was balanced over them; the backbone was kept."


def groups_agreements(groups: BalancedGroups) -> list[str]:
    """How far early stages of the network agreed about the images that lack the pattern, a pair each, and how
    the guess compares with labelled groups, a class each."""
    if not isinstance(groups, EarlyStageGroups):
        return []
    sentences = [_agreement(agreement) for agreement in groups.details.agreements]
    if groups.details.stage:
        sentences.append(f"The groups are those of {groups.details.stage}.")
    return sentences + [
        "Compared with the data set's own groups, which the balance did not use: of the "
        f"{precision.n:,} images of “{name}” that seem to lack its pattern, "
        f"{precision.correct:,} are outside the largest group of this class (precision "
        f"{percent(precision.accuracy)}); of the {recall.n:,} outside it, {recall.correct:,} seem "
        f"to lack the pattern (recall {percent(recall.accuracy)})."
        for name, precision in groups.details.label_precision.items()
        if precision.n and (recall := groups.details.label_recall[name]).n
    ]


def _agreement(pair: StageAgreement) -> str:
    return (
        f"The guess was made at two stages: classifiers on {pair.shallow} get {pair.flagged_shallow:,} "
        f"images wrong, those on {pair.deep} {pair.flagged_deep:,}. Of all these images, "
        f"{percent(pair.jaccard)} are wrong at both; at least {whole_percent(pair.required)} are required."
    )


def groups_warning(groups: BalancedGroups) -> str:
    """That there was nothing to balance over, if so."""
    if groups.divided:
        return ""
    if isinstance(groups, EarlyStageGroups):
        return UNDIVIDED_REASONS.get(groups.details.reason, UNDIVIDED)
    return UNDIVIDED + _ADVICE.get(groups.source, "")


def groups_note(groups: BalancedGroups) -> str:
    """Which samples the accuracies are on, and what they are worth."""
    fitted = [ARM_NAMES[arm] for arm, held_out in groups.held_out.items() if not held_out]
    note = f"Accuracies are on the {groups.n:,} training samples."
    if len(fitted) < len(groups.held_out):
        note += " Those of the new heads come from heads that were fitted in the same way without the sample"
        note += (
            f"; {' and '.join(fitted)} was trained on all of them and looks better for it." if fitted else "."
        )
    if groups.inferred:
        note += (
            " An inferred group consists of images that were mistaken, so accuracy in it is bound to be low. "
            "The verdict, on samples held out from training, says what the change is worth."
        )
    divided = [str(seed) for seed, divided in groups.divided_by_seed.items() if divided]
    if divided and len(divided) < len(groups.divided_by_seed):
        note += (
            f" Of {len(groups.divided_by_seed)} seeds, classes were divided with {', '.join(divided)} alone."
        )
    return note


def true_groups(group: GroupSlice) -> str:
    """How many samples of an inferred group have each label of the data set's own groups."""
    known = (group.true_groups or {}) if group.inferred else {}
    return ", ".join(f"{n:,} of “{name}”" for name, n in known.items())


def answers_sentence(answers: ReportImageAnswers) -> str:
    """Who confirmed the guess that a report lists, or did not, when, and by how many images."""
    confirmed = "Confirmed" if answers.gate == "open" else "Not confirmed"
    by = f" by {answers.by}" if answers.by else ""
    at = datetime.fromtimestamp(answers.at, UTC)
    return (
        f"{confirmed}{by} on {moment(at)}: {answers.lacking} of {answers.answered} images lack a "
        "pattern that the others of their class share."
    )
