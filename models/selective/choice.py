"""One function for all who apply a policy: a request and the tables of a calibration in, a threshold out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from models.selective.by_class import certify_classes
from models.selective.policies import (
    ONE_PER_SUBJECT,
    Policy,
    Selection,
    answer_all,
    certify,
    threshold_for_coverage,
    threshold_for_score,
)
from models.selective.table import DEFAULT_CONFIDENCE, CalibrationTable


def select(
    policy: Policy,
    number: float | None,
    table: CalibrationTable,
    *,
    predicted: Mapping[str, CalibrationTable],
    true: Mapping[str, CalibrationTable],
    classes: tuple[str, ...],
    of_subjects: bool,
    max_missed: float | None = None,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Selection:
    """Apply the policy to the table of a calibration, or, by class, to those of each.

    `predicted` and `true` have the tables by the predicted and by the true one of the `classes`. `number` is
    what the policy requests: a share of inputs, a risk, a score as a probability; by class, the risk of each,
    if that is requested. `of_subjects`: one image of each subject counts.
    """
    if policy == "none":
        selection = answer_all(table)
    elif policy == "by_class":
        selection = certify_classes(
            classes, predicted, true, max_risk=number, max_missed=max_missed, confidence=confidence
        )
    else:
        assert number is not None
        if policy == "coverage":
            selection = threshold_for_coverage(table, number)
        elif policy == "max_risk":
            selection = certify(table, max_risk=number, confidence=confidence)
        else:
            selection = threshold_for_score(table, math.log(number))
    return replace(selection, method=selection.method + ONE_PER_SUBJECT * of_subjects)
