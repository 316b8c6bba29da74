"""The words of a report's page: names of models and figures, numbers as text, what each term means."""

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
    "retrain_head": "Retraining the last layer",
    "control": "Control training",
    "calibrate": "Calibration",
    "evaluate": "Evaluation",
}

GLOSSARY = (
    ("ERM", "The plain training: the model before."),
    ("MaskTune", "ERM, then trained on for a short while with the most salient pixels of each image masked."),
    (
        "Control",
        "ERM, trained on for the same budget without masks. What MaskTune gains over it, longer training did "
        "not do: the masks did, or chance in training these two.",
    ),
    (
        "Group",
        "Samples that share a class and a circumstance, such as the background. Measured, never trained on.",
    ),
    (
        "Interval",
        "95 %. For a share Wilson's; for the lowest of several, one that allows for its having been picked; "
        "for a difference by paired bootstrap over the same samples. They hold for these models on inputs "
        "like the test split: what another seed of the training would give is not in them.",
    ),
)


_HEAD_GLOSSARY = {
    "MaskTune": (
        "Retrained head",
        "The backbone of the model before, its last layer fitted anew, balanced over groups of the training "
        "set.",
    ),
    "Control": (
        "Control",
        "The same layer fitted on the same features, its penalty chosen by the same rule, but balanced over "
        "classes alone. What the retrained head gains over it, retraining alone did not do.",
    ),
    "Group": ("Group", "Samples that share a class and a circumstance, such as the background."),
}


QUESTIONS = {
    "masktune": ("MaskTune", "the same training without masks"),
    "retrained": ("the retrained head", "the same head without groups"),
}
"""What is asked about, and what the control is."""


def judged(report: Json) -> str:
    """The arm that the others are compared with."""
    return "retrained" if "retrained" in report["models"] else "masktune"


def before_arm(report: Json) -> str:
    """What the judged arm came from; of reports that do not say, ERM or the imported model."""
    told: str | None = report.get("before")
    return told or ("erm" if "erm" in report["models"] else "imported")


def judged_name(report: Json) -> str:
    """As it stands inside of a sentence."""
    return QUESTIONS[judged(report)][0]


def question(report: Json) -> str:
    """The second of the three that `report_answers` answers."""
    return f"Did {judged_name(report)} help?"


def glossary(report: Json) -> tuple[tuple[str, str], ...]:
    """What the words of this report mean."""
    if judged(report) == "masktune":
        return GLOSSARY
    return tuple(_HEAD_GLOSSARY.get(word, (word, meaning)) for word, meaning in GLOSSARY)


def percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"  # no line breaks before the sign


def whole_percent(share: float) -> str:
    return f"{100 * share:g}\u00a0%"


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
