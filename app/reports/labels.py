"""The words of a report's page: names of models and figures, number formats, a glossary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

ARM_NAMES = {
    "erm": "ERM",
    "control": "Control",
    "masktune": "MaskTune",
    "retrained": "Retrained head",
    "imported": "Imported",
    "given": "Given model",
}

STATISTICS = {
    "accuracy": ("Average accuracy", "share of answers that are right"),
    "worst_group_accuracy": ("Worst-group accuracy", "the group with the lowest accuracy"),
    "worst_class_accuracy": ("Worst-class accuracy", "the class with the lowest accuracy"),
    "train_weighted_accuracy": (
        "Train-weighted accuracy",
        "mean over groups, weighted by their share of the training split",
    ),
    "balanced_accuracy": ("Balanced accuracy", "mean over classes"),
}

STAGES = {
    "erm": "Plain training (ERM)",
    "mask": "Masking",
    "finetune": "Masked finetuning",
    "retrain_head": "Last-layer retraining",
    "control": "Control training",
    "calibrate": "Calibration",
    "evaluate": "Evaluation",
}

GLOSSARY = (
    ("ERM", "Plain training: the original model."),
    ("MaskTune", "ERM, then finetuned briefly with the most salient pixels of each image masked."),
    (
        "Control",
        "ERM, trained further on the same budget without masks. What MaskTune gains over it is not due to "
        "longer training, but to the masks, or to chance in training these two.",
    ),
    (
        "Group",
        "Samples that share a class and a circumstance, such as the background. Used to measure, never to "
        "train.",
    ),
    (
        "Interval",
        "95 %. Wilson's for a share; for the lowest of several, one that allows for its having been picked; "
        "a paired bootstrap over the same samples for a difference. Intervals are for these models on inputs "
        "like the test split; they do not cover what another training seed would give.",
    ),
)


_HEAD_GLOSSARY = {
    "MaskTune": (
        "Retrained head",
        "The backbone of the original model with its last layer refitted, balanced over groups of the "
        "training split.",
    ),
    "Control": (
        "Control",
        "The same layer fitted on the same features, its penalty chosen by the same rule, but balanced over "
        "classes alone. What the retrained head gains over it is not due to retraining alone.",
    ),
    "Group": ("Group", "Samples that share a class and a circumstance, such as the background."),
}


QUESTIONS = {
    "masktune": ("MaskTune", "the same training without masks"),
    "retrained": ("the retrained head", "the same head without groups"),
}
"""For each arm that can be judged: its name, and a description of its control."""


def judged(report: Json) -> str:
    """Return the arm that is compared with the others."""
    return "retrained" if "retrained" in report["models"] else "masktune"


def before_arm(report: Json) -> str:
    """Return the arm that the judged one was made from; older reports imply ERM or the imported model."""
    told: str | None = report.get("before")
    return told or ("erm" if "erm" in report["models"] else "imported")


def judged_name(report: Json) -> str:
    """Return the name of the judged arm for use inside a sentence."""
    return QUESTIONS[judged(report)][0]


def question(report: Json) -> str:
    """Return the second of the three questions in `report_answers`."""
    return f"Did {judged_name(report)} help?"


def glossary(report: Json) -> tuple[tuple[str, str], ...]:
    """Return the terms of this report with their meanings."""
    if judged(report) == "masktune":
        return GLOSSARY
    return tuple(_HEAD_GLOSSARY.get(word, (word, meaning)) for word, meaning in GLOSSARY)


def percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"  # a non-breaking space


def whole_percent(share: float) -> str:
    return f"{100 * share:g}\u00a0%"


def points(difference: float) -> str:
    """Format a difference of shares as signed percentage points."""
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
