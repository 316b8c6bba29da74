"""Splits that no subject is cut by, compared with those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from models.data.splits import assign_splits
from tests.unit.models.data.test_splits import bursts


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("count", [20, 60])
def test_subjects_are_divided_as_evenly_as_scikit_learn_divides_them(count: int, mixed: bool) -> None:
    """Averages over data sets and folds: how far a split is from its classes' shares, and from its size."""
    ours, theirs = [], []
    for seed in range(8):
        subjects, labels = bursts(seed, count, mixed=mixed)
        splits = np.array(assign_splits([None] * len(labels), labels, subjects=subjects, seed=seed).splits)
        for split, share, folds in (("val", 0.1, 10), ("calibration", 0.15, 7), ("test", 0.15, 7)):
            ours.append(_deviation(labels, splits == split, share))
            oracle = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
            of_fold = [
                _deviation(labels, np.isin(np.arange(len(labels)), rows), 1 / folds)
                for _, rows in oracle.split(labels, labels, subjects)
            ]
            theirs.append(np.mean(of_fold, axis=0))
    of_classes, of_size = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
    assert of_classes <= 0.01
    assert of_size <= 0.06  # where subjects are few, we give up some of the size for the classes


def _deviation(labels: NDArray[np.int64], part: NDArray[np.bool_], share: float) -> tuple[float, float]:
    """Half the sum over the classes of how far their shares are off, and how far the size is, relatively."""
    classes = np.bincount(labels[part], minlength=3) / part.sum() - np.bincount(labels) / len(labels)
    return float(np.abs(classes).sum()) / 2, abs(float(part.mean()) - share) / share
