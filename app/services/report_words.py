"""The sentences of a report's page: what its figures say, in plain words and in the project's own terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Json = Mapping[str, Any]

ARM_NAMES = {"erm": "ERM", "control": "Control", "masktune": "MaskTune", "imported": "Imported"}

STATISTICS = {
    "accuracy": ("Average accuracy", "right answers over all answers"),
    "worst_group_accuracy": ("Worst-group accuracy", "the group with the lowest accuracy"),
    "worst_class_accuracy": ("Worst-class accuracy", "the class with the lowest accuracy"),
    "train_weighted_accuracy": (
        "Train-weighted accuracy",
        "mean over the groups, by their share of the training set",
    ),
    "balanced_accuracy": ("Balanced accuracy", "mean over the classes"),
}

STAGES = {
    "erm": "ERM training",
    "mask": "Masks",
    "finetune": "Finetune on masked images",
    "control": "Control training",
    "calibrate": "Calibration",
    "evaluate": "Evaluation",
}

GLOSSARY = (
    ("ERM", "The plain training: the model before."),
    ("MaskTune", "ERM, then trained on for a short while with the most salient pixels of each image masked."),
    (
        "Control",
        "ERM, trained on for the same budget without masks. What MaskTune gains over it is due to the masks.",
    ),
    (
        "Group",
        "Samples that share a class and a circumstance, such as the background. Measured, never trained on.",
    ),
    ("Interval", "95 %: for a share Wilson's, for a difference by paired bootstrap over the same samples."),
)


class VerdictWords(NamedTuple):
    """`tone` is one of good, neutral, bad."""

    tone: str
    title: str
    sentence: str
    rule: str


class Answer(NamedTuple):
    """One of the three questions that a reader comes with."""

    question: str
    answer: str


def percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"  # no line breaks before the sign


def points(difference: float) -> str:
    """A difference of shares as signed percentage points."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def stage(name: str) -> str:
    return STAGES.get(name, name)


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


_VERDICTS = {
    "helped": ("good", "MaskTune helped"),
    "no_detectable_effect": ("neutral", "No detectable effect"),
    "hurt": ("bad", "MaskTune hurt"),
}


def verdict(report: Json) -> VerdictWords:
    """The verdict and the one difference that it rests on."""
    found = report.get("verdict")
    if not found:
        return VerdictWords(
            "neutral",
            "No comparison",
            "This job has no MaskTune model beside another one on the test split: there is nothing to judge.",
            "",
        )
    tone, title = _VERDICTS[found["verdict"]]
    deciding, average = found["deciding"], found["average"]
    name = STATISTICS[deciding["statistic"]][0]
    rival = _the(found["b"])
    sentence = (
        f"On the {found['split']} split, its {name.lower()} is "
        f"{_beside(deciding['estimate'])} that of {rival} "
        f"(95\u00a0% interval {points(deciding['low'])} to {points(deciding['high'])}). "
        f"Average accuracy: {points(average['estimate'])} points."
    )
    rule = (
        f"The rule: the 95\u00a0% interval of the difference in {name.lower()} lies above zero (helped), "
        "below zero (hurt), or covers it (no detectable effect)."
    )
    return VerdictWords(tone, title, sentence, rule)


def answers(report: Json, split: str | None) -> tuple[Answer, ...]:
    """Does the model lean on a shortcut, did MaskTune help, may I trust the new one?"""
    by_arm = report["metrics"].get(split) if split else None
    if not by_arm:
        return ()
    before = by_arm.get("erm") or by_arm.get("imported")
    after = by_arm.get("masktune")
    found = []
    if before is not None:
        seen_before = _before(report, split)
        found.append(Answer("Does the model lean on a shortcut?", _leans(before, seen_before)))
    if before is not None and after is not None:
        found.append(Answer("Did MaskTune help?", _helped(before, by_arm.get("control"), after)))
        found.append(Answer("May I trust the new one?", _trust(after)))
    return tuple(found)


def _before(report: Json, split: str | None) -> Json | None:
    """What the model before did on the validation split, where another one is judged."""
    by_arm = report["metrics"].get("val") if split != "val" else None
    return None if not by_arm else by_arm.get("erm") or by_arm.get("imported")


def _leans(metrics: Json, validation: Json | None) -> str:
    worst, name = _worst(metrics)
    gap = metrics["accuracy"] - worst
    kind = "group" if metrics["worst_group_accuracy"] is not None else "class"
    figures = (
        f"right on {percent(metrics['accuracy'])} overall and on {percent(worst)} in its worst {kind}, {name}"
    )
    if validation is not None and validation["accuracy"] - metrics["accuracy"] >= 0.1:
        figures += f"; on the validation split it is right on {percent(validation['accuracy'])}"
    if gap >= 0.1 or worst < 0.5:
        return f"There are signs of it. Before, it is {figures}."
    return f"Not that these figures would show. Before, it is {figures}."


def _helped(before: Json, control: Json | None, after: Json) -> str:
    then, _ = _worst(before)
    now, name = _worst(after)
    sentence = f"The worst case went from {percent(then)} to {percent(now)} ({name})"
    if control is not None:
        sentence += f"; the same training without masks reaches {percent(_worst(control)[0])}"
    return (
        sentence + f". On average: {percent(before['accuracy'])} before, {percent(after['accuracy'])} after."
    )


def _trust(after: Json) -> str:
    worst, name = _worst(after)
    return (
        f"It errs on {percent(1 - after['accuracy'])} of the inputs, and on {percent(1 - worst)} in {name}. "
        "Let it abstain where it is unsure: ask for a coverage, or for a risk that is certified."
    )


def _worst(metrics: Json) -> tuple[float, str]:
    if metrics["worst_group_accuracy"] is not None:
        return metrics["worst_group_accuracy"], metrics["worst_group"]
    return metrics["worst_class_accuracy"], metrics["worst_class"]


def _beside(difference: float) -> str:
    if abs(difference) < 0.0005:
        return "level with"
    return f"{100 * abs(difference):.1f} points {'above' if difference > 0 else 'below'}"


def _the(arm: str) -> str:
    return {"control": "the control", "erm": "ERM"}.get(arm, ARM_NAMES.get(arm, arm))


def disagreement(found: Json | None) -> str | None:
    if not found:
        return None
    return (
        f"ERM and MaskTune give different answers on {found['disagree']:,} of {found['n']:,} samples: "
        f"{percent(found['share'])} ({percent(found['low'])} – {percent(found['high'])}). "
        "A larger share on new inputs, which needs no labels, is an alarm that they are not like these."
    )


def masks(summary: Json | None) -> tuple[tuple[str, str], ...]:
    """What was masked of the training images, as (figure, what it is)."""
    if not summary:
        return ()
    return (
        (percent(summary["masked_share"]), "of the training pixels are masked"),
        (f"{summary['images']:,}", "training images have a mask"),
        (f"{summary['nothing_masked']:,}", "of them have nothing masked: their map is flat"),
        (f"{summary['images_per_second']:,.0f}", "images a second"),
    )
