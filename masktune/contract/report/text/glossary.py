"""The terms of a report with their meanings."""

from __future__ import annotations

from masktune.contract.report.report import Report
from masktune.contract.report.text.names import arm_after

_COMMON = (
    ("Shortcut", "Something that tells the classes apart in the training images, but not in the world."),
    (
        "Split",
        "A part of the data set with one purpose: to train, to choose (val), to calibrate, to test.",
    ),
    ("Subject", "What several images may show: a patient, an animal, a slide."),
    ("Saliency map", "A picture of how much each place of an image counts for the model's answer."),
    ("Mask", "The part of an image that is hidden because the model looks at it most."),
    ("Coverage", "The share of inputs that a model answers."),
    ("Selective risk", "The share of wrong answers among those that a model gives."),
    (
        "Certified",
        "Shown on the calibration split that at most a given share of the answers is wrong, with a stated "
        "confidence.",
    ),
)
_ERM = ("ERM", "Plain training: the original model.")
_GROUP = "Samples that share a class and a circumstance, such as the background."
_INTERVAL = (
    "Interval",
    "Where the true figure lies with 95\u00a0% confidence, for these models on inputs like the test split. "
    "Few images make it wide, and training with another seed may give other figures. For a share, it is "
    "Wilson's; for the lowest of several, one that allows for its having been picked; for a difference, a "
    "paired bootstrap over the same samples.",
)
_MASKTUNE = (
    _ERM,
    ("MaskTune", "ERM, then trained further while what it looked at most in each image was hidden."),
    (
        "Control",
        "ERM, trained further on the same budget without masks. What MaskTune gains over it is not due to "
        "longer training, but to the masks, or to chance in training these two.",
    ),
    ("Group", f"{_GROUP} Used to measure, never to train."),
    _INTERVAL,
    *_COMMON,
)
_RETRAINED_HEAD = (
    _ERM,
    (
        "Retrained head",
        "The backbone of the original model with its last layer refitted, balanced over groups of the "
        "training split.",
    ),
    (
        "Control head",
        "The same layer fitted on the same features, its penalty chosen by the same rule, but balanced over "
        "classes alone. What the retrained head gains over it is not due to retraining alone.",
    ),
    ("Group", _GROUP),
    _INTERVAL,
    *_COMMON,
)


def glossary(report: Report) -> tuple[tuple[str, str], ...]:
    """The terms that the report uses."""
    return _RETRAINED_HEAD if arm_after(report) == "retrained" else _MASKTUNE
