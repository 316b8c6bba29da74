"""The terms of a report with their meanings."""

from __future__ import annotations

from masktune.contract.report.report import Report
from masktune.contract.report.text.names import arm_after

_ERM = ("ERM", "Plain training: the original model.")
_GROUP = "Samples that share a class and a circumstance, such as the background."
_INTERVAL = (
    "Interval",
    "95\u00a0%. Wilson's for a share; for the lowest of several, one that allows for its having been picked; "
    "a paired bootstrap over the same samples for a difference. Intervals are for these models on inputs "
    "like the test split; they do not cover what another training seed would give.",
)
_MASKTUNE = (
    _ERM,
    ("MaskTune", "ERM, then finetuned briefly with the most salient pixels of each image masked."),
    (
        "Control",
        "ERM, trained further on the same budget without masks. What MaskTune gains over it is not due to "
        "longer training, but to the masks, or to chance in training these two.",
    ),
    ("Group", f"{_GROUP} Used to measure, never to train."),
    _INTERVAL,
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
)


def glossary(report: Report) -> tuple[tuple[str, str], ...]:
    """The terms that the report uses."""
    return _RETRAINED_HEAD if arm_after(report) == "retrained" else _MASKTUNE
