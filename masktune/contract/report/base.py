"""What the sections of a report have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

StatisticName = Literal[
    "accuracy",
    "balanced_accuracy",
    "worst_class_accuracy",
    "worst_group_accuracy",
    "train_weighted_accuracy",
]


class Section(BaseModel):
    """A part of a report: frozen, and keeps the additional fields of a newer service.

    It is made from JSON, or from an object with the same attributes, such as a result of the learning code.
    """

    model_config = ConfigDict(frozen=True, extra="allow", from_attributes=True, protected_namespaces=())


class Proportion(Section):
    """`correct` of `n` as a share (0..1), with its 95 % interval.

    `n_subjects` is null where each sample counts as independent. Else the interval takes subjects, not
    samples, as independent, as do all intervals beside an `n_subjects`.
    """

    n: int
    n_subjects: int | None = None
    correct: int
    accuracy: float
    low: float
    high: float
