"""What a reader must know of the groups that nobody labelled, in words."""

from __future__ import annotations

from collections.abc import Iterator

from masktune.contract.report.inferred import InferredGroups, InferredSplit
from masktune.contract.report.report import Report
from masktune.contract.report.text.formats import out_of_100, percent, right_counts
from masktune.contract.report.text.names import (
    arm_after,
    arm_before,
    model_name,
    plain_name,
    within_sentence,
)
from masktune.contract.vocabulary import Arm

INFERRED_TITLE = "Images that lack what the others of their class share"
INFERRED_TAG = "inferred: nobody labelled them"
MIX_TITLE = "If such images were more, or fewer"
_FEWEST = 10
"""Images: on fewer, a share of right answers says nothing."""


def lacking_sentence(report: Report) -> str:
    """How the models before and after do on test images that lack the pattern, and on the rest: on each if it
    has 10 images; "" where no figures rest on inferred groups."""
    groups = report.inferred_groups
    test = groups.test if groups is not None and groups.decide else None
    if test is None or test.lacking.n < _FEWEST:
        return ""
    before, after = arm_before(report), arm_after(report)
    arms = [arm for arm in dict.fromkeys((before, after)) if arm in test.lacking.accuracies]
    return f"On the {_on_parts(arms, test)}" if arms else ""


def _on_parts(arms: list[Arm], parts: InferredSplit) -> str:
    """“48 images that lack …, plain training is right on 32 of 48, MaskTune on 43; on the rest, …”."""
    first, *others = map(plain_name, arms)
    of_first, *counts = right_counts(*(parts.lacking.accuracies[arm] for arm in arms))
    shares = [f"{first} is right on {of_first}"]
    shares += [f"{name} on {count}" for name, count in zip(others, counts, strict=True)]
    sentence = (
        f"{parts.lacking.n:,} images that lack what the others of their class share, {', '.join(shares)}"
    )
    if parts.rest.n < _FEWEST:
        return f"{sentence}."
    rest = [parts.rest_alike.get(arm, parts.rest.accuracies[arm].accuracy) for arm in arms]
    of_rest = " and ".join(out_of_100(*rest))
    alike = ", with each class as often," if parts.rest_alike else ""
    return f"{sentence}; on the {parts.rest.n:,} others{alike} on {of_rest} of 100."


def inferred_notes(report: Report) -> list[str]:
    """Where the groups come from and what they are worth, a paragraph each; empty where there are none."""
    groups = report.inferred_groups
    return [] if groups is None else list(_notes(report, groups))


def _notes(report: Report, groups: InferredGroups) -> Iterator[str]:
    yield (
        f"A guess: nobody labelled these groups. At {groups.stage}, an early stage, a network sees a pattern "
        "such as a background but hardly the class, and so tells whose class's pattern an image shows."
    )
    if groups.decide:
        yield (
            "The figures by group, and the verdict, rest on this guess. Their intervals are for the groups "
            "as inferred: they do not cover that the guess may be wrong."
        )
    elif groups.comparison:
        yield f"The data set's own groups decide. {_compared(groups)}"
    elif groups.reason == "wrong_labels":
        yield "Nothing rests on this guess: most images that seem to lack a pattern have a wrong label."
    else:
        yield (
            "Nothing rests on this guess: two stages did not agree on it, and nobody has confirmed it by "
            "looking at the images."
        )
    if groups.precision is not None:
        yield _precision(groups)
    if sentence := wrong_labels_sentence(report):
        yield sentence


def _compared(groups: InferredGroups) -> str:
    return " ".join(
        f"The worst group of {model_name(arm)} on test is right on {percent(worst.labelled)} by them, and on "
        f"{percent(worst.inferred)} by the inferred groups."
        for arm, worst in groups.comparison.items()
    )


def _precision(groups: InferredGroups) -> str:
    precision = groups.precision
    assert precision is not None
    bound = " and ".join(
        f"{model_name(arm)} would be right on {percent(share)}" for arm, share in precision.at_bound.items()
    )
    return (
        f"Of {precision.answers} images that were drawn at random from those that seem to lack the pattern, "
        f"{precision.lacking} do, as a person said: so at least {percent(precision.low)} of all such images "
        f"do, at 97.5\u00a0% confidence. If no more did, {bound} of the test images that truly lack it."
    )


def wrong_labels_sentence(report: Report) -> str:
    """How many labels look wrong, and what that means; "" if none do."""
    groups = report.inferred_groups
    if groups is None or not groups.n_wrong_labels:
        return ""
    where = ", ".join(f"{n:,} of {split}" for split, n in groups.labels_look_wrong.items() if n)
    sentence = (
        f"{groups.n_wrong_labels:,} labels look wrong ({where}): by the pattern and by the object, the image "
        "seems to be of another class. "
    )
    if groups.wrong_labels_weigh_less:
        sentence += "In training they weigh less."
    else:
        sentence += (
            "Nearly all of the training images are of one class: they are hard images of a rare group, or "
            "their labels are wrong. Only a look at them can tell, so they keep their weight."
        )
    worst = [
        f"{model_name(arm)} is right on {percent(share)}"
        for arm, share in groups.worst_groups_without_wrong_labels.items()
    ]
    if worst:
        sentence += f" In the worst group of test without them, {' and '.join(worst)}."
    return sentence


def mix_sentence(report: Report) -> str:
    """What the curve of another mix is, with one point of it; "" without a curve."""
    groups, after = report.inferred_groups, arm_after(report)
    test = groups.test if groups is not None else None
    points = test.mix.get(after) if test is not None else None
    if not points:
        return ""
    half = min(points, key=lambda point: abs(point.share - 0.5))
    return (
        "The accuracy of each model if another share of each class lacked its pattern, of the classes that "
        "have images of both kinds. At "
        f"{percent(half.share)}, {within_sentence(after)} would be right on {percent(half.accuracy)} "
        f"({percent(half.low)} to {percent(half.high)}). An estimate from these test images, no certificate."
    )
