"""The choice between the policies: each is that of its own function, for images or for subjects."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.selective import (
    CalibrationTable,
    Selection,
    answer_all,
    certify,
    select,
    threshold_for_coverage,
    threshold_for_score,
)
from models.selective.by_class import certify_classes
from models.selective.policies import ONE_PER_SUBJECT, Policy

SCORES = np.log(np.linspace(0.5, 0.999, 400))
RIGHT = np.arange(400) % 40 > 0
TABLE = CalibrationTable.build(SCORES, RIGHT)
OF_CLASSES = {
    name: CalibrationTable.build(SCORES[half], RIGHT[half])
    for name, half in (("a", slice(200)), ("b", slice(200, None)))
}


def selection(policy: Policy, number: float | None, *, of_subjects: bool = False) -> Selection:
    return select(
        policy,
        number,
        TABLE,
        predicted=OF_CLASSES,
        true=OF_CLASSES,
        classes=("a", "b"),
        of_subjects=of_subjects,
        max_missed=0.3 if policy == "by_class" else None,
        confidence=0.9,
    )


EXPECTED: dict[Policy, tuple[float | None, Selection]] = {
    "none": (None, answer_all(TABLE)),
    "coverage": (0.7, threshold_for_coverage(TABLE, 0.7)),
    "max_risk": (0.05, certify(TABLE, max_risk=0.05, confidence=0.9)),
    "min_score": (0.8, threshold_for_score(TABLE, math.log(0.8))),
    "by_class": (
        0.2,
        certify_classes(("a", "b"), OF_CLASSES, OF_CLASSES, max_risk=0.2, max_missed=0.3, confidence=0.9),
    ),
}


@pytest.mark.parametrize("policy", EXPECTED)
def test_each_policy_is_that_of_its_function(policy: Policy) -> None:
    number, expected = EXPECTED[policy]
    assert selection(policy, number) == expected
    of_subjects = selection(policy, number, of_subjects=True)
    assert of_subjects.method == expected.method + ONE_PER_SUBJECT
    assert of_subjects.threshold == expected.threshold
