"""Heads that know the classes alone: the control, and the control with each class scaled."""

from __future__ import annotations

import numpy as np

from benchmarks.rivals.protocol import Fit, Training
from models.mitigation.features import Head
from models.types import Floats, Labels

_SHIFTS = np.linspace(-3, 3, 61)  # logarithms of the factors that are tried
_PASSES = 2


def control(training: Training) -> Fit:
    """ERM balanced over the classes."""
    return Fit(training.erm.head)


def class_scaling(training: Training) -> Fit:
    """ERM whose class probabilities are multiplied by a factor each (Seo and Han 2025).

    The paper chooses the factors for the worst group of a labelled validation split; here it is the worst
    class of the held-out predictions, the nearest thing that needs no groups.
    """
    shifts = _best_shifts(training.held_out, training.labels)
    return Fit(Head(training.erm.head.weight, training.erm.head.bias + shifts.astype(np.float32)))


def _best_shifts(log_probabilities: Floats, labels: Labels) -> Floats:
    """One class after the other, the shift that is best for the worst class, then for the average."""
    shifts = np.zeros(log_probabilities.shape[1])

    def quality(label: int, shift: float) -> tuple[float, float, float]:
        tried = shifts.copy()
        tried[label] = shift
        right = (log_probabilities + tried).argmax(1) == labels
        accuracies = np.bincount(labels, right) / np.bincount(labels)
        return float(accuracies.min()), float(right.mean()), -abs(shift)

    for _ in range(_PASSES):
        for label in range(len(shifts)):
            shifts[label] = max(_SHIFTS, key=lambda shift: quality(label, shift))
    return shifts
