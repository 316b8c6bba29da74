"""Answers to a reader's questions: is there a shortcut, did the change help, can the model be trusted?"""

from __future__ import annotations

from typing import NamedTuple

from masktune.contract.report.accuracy import ArmMetrics
from masktune.contract.report.report import Report
from masktune.contract.report.shortcut import Evidence, ShortcutReliance, SignName
from masktune.contract.report.text.certificates import samples_needed
from masktune.contract.report.text.formats import percent, whole_percent
from masktune.contract.report.text.names import (
    Tone,
    arm_after,
    arm_before,
    arm_to_use,
    capitalised,
    control_arm,
    says_nothing_of_quality,
    splits_in_order,
    within_sentence,
)
from masktune.contract.vocabulary import Arm

SHORTCUT_QUESTION = "Is there a shortcut?"
TRUST_QUESTION = "Can I trust the model?"
"""About the model that is recommended."""

EVIDENCE: dict[Evidence, tuple[Tone, str]] = {
    "strong": ("bad", "Signs of a shortcut: a failure and a possible cause"),
    "large_gap": ("bad", "Strong signs of a shortcut"),
    "some": ("neutral", "Some signs of a shortcut"),
    "none_seen": ("muted", "No sign of a shortcut"),
    "not_testable": ("muted", "Not testable here"),
}
"""Tone and title of each degree of evidence."""

_SIGNS: dict[SignName, str] = {
    "groups": "It is right much less often in one group than over all.",
    "shift": "It is right much less often on the test images than on the validation images.",
    "mask": "Hiding the small part of an image where it looks changes many of its answers.",
}
"""What a sign means, without its figures; a property is said with them."""
_MISSED = "That is no proof: of four groups of 100 images, one that is 20 points worse shows in 77\u00a0%."
"""Measured by `research.shortcut_reliance`."""

_CONTROLS: dict[Arm, str] = {
    Arm.MASKTUNE_CONTROL: "the same training without masks",
    Arm.RETRAINED_CONTROL: "the same head without groups",
}


class Answer(NamedTuple):
    """The answer to one of the questions."""

    question: str
    answer: str


def help_question(report: Report) -> str:
    return f"Did {within_sentence(arm_after(report))} help?"


def answers(report: Report) -> tuple[Answer, ...]:
    """Answer those of the questions that the report has figures for, on its first split."""
    splits = splits_in_order(report)
    by_arm = report.metrics[splits[0]] if splits else {}
    before, after = by_arm.get(arm_before(report)), by_arm.get(arm_after(report))
    answered = []
    if before is not None:
        answered.append(Answer(SHORTCUT_QUESTION, shortcut_answer(report.shortcut_reliance)))
    if before is not None and after is not None and not says_nothing_of_quality(splits[0]):
        control = control_arm(report)
        answered.append(
            Answer(help_question(report), _help(before, by_arm.get(control), after, _CONTROLS[control]))
        )
        if (to_use := arm_to_use(report)) in by_arm:
            answered.append(Answer(TRUST_QUESTION, _trust(report, to_use, by_arm[to_use], splits[0])))
    return tuple(answered)


def shortcut_answer(reliance: ShortcutReliance | None) -> str:
    """The evidence and what it means."""
    if reliance is None:
        return "This report has not looked for one."
    return f"{EVIDENCE[reliance.evidence][1]}. {shortcut_meaning(reliance)}"


def shortcut_meaning(reliance: ShortcutReliance) -> str:
    """What each sign means, or the reason why it could not be tested. A large gap is said in figures."""
    if reliance.reason:
        return reliance.reason
    is_large = reliance.evidence == "large_gap"
    meanings = {name: text for name, text in _SIGNS.items() if not (is_large and name == "groups")}
    present = dict.fromkeys(meanings.get(sign.name, sign.sentence) for sign in reliance.signs if sign.present)
    if not present:
        return f"None of {len(reliance.signs)} checks shows one. {_MISSED}"
    return " ".join(present)


def worst_case(metrics: ArmMetrics) -> tuple[float, str]:
    """The lowest accuracy over groups, or over classes without groups, and that group's or class's name."""
    if metrics.worst_group_accuracy is not None:
        return metrics.worst_group_accuracy, metrics.worst_group or ""
    return metrics.worst_class_accuracy, metrics.worst_class


def _help(before: ArmMetrics, control: ArmMetrics | None, after: ArmMetrics, control_name: str) -> str:
    worst_before, _ = worst_case(before)
    worst_after, name = worst_case(after)
    text = f"Accuracy in the worst case went from {percent(worst_before)} to {percent(worst_after)} ({name})"
    if control is not None:
        text += f"; {control_name} reaches {percent(worst_case(control)[0])}"
    return f"{text}. On average, it went from {percent(before.accuracy)} to {percent(after.accuracy)}."


def _trust(report: Report, arm: Arm, metrics: ArmMetrics, split: str) -> str:
    certificates = report.certificates.get(arm)
    worst, name = worst_case(metrics)
    text = (
        f"{capitalised(within_sentence(arm))} is wrong on {percent(1 - metrics.accuracy)} of the {split} "
        f"split, and on {percent(1 - worst)} of {name}. "
    )
    scope = (
        "inputs"
        if certificates is None or certificates.n_subjects is None
        else f"random images of new {report.dataset.subject_word}s"
    )
    for target in certificates.targets if certificates else ():
        # The figures decide which certificate is named, so it must hold jointly with the others.
        if certificates and target.simultaneous and target.simultaneous.status == "certified":
            models = f"and {certificates.models} models " if certificates.models > 1 else ""
            condition = (
                "Even if it answers every image"
                if target.simultaneous.coverage == 1
                else "If it may abstain and answers only the most confident "
                f"{percent(target.simultaneous.coverage)}"
            )
            return (
                f"{text}{condition}, at most {whole_percent(target.max_risk)} of its answers are wrong. "
                f"This is certified with {whole_percent(certificates.confidence)} confidence, whichever of "
                f"the {len(certificates.targets)} risks {models}of this report is picked, but only for "
                f"{scope} like those of its calibration split."
            )
    text += "It can abstain where it is unsure, but this report cannot promise how often it is wrong then"
    if certificates and (loosest := certificates.targets[-1]).simultaneous:
        remedy = samples_needed(loosest.simultaneous.samples_needed)
        text += f": even for a risk of {whole_percent(loosest.max_risk)}, {remedy}"
    return f"{text}."
