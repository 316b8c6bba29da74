"""Heads that know the classes alone: ERM, the control, and the control with each class scaled."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from models.defaults import default_hyperparameters
from models.mitigation.features import Head, head_of
from models.mitigation.logistic import folds
from models.run import Run
from models.training.checkpoints import CheckpointFolder
from models.training.fit import FitData, fit
from models.training.frozen import FeatureLoader
from models.inputs import erm_config
from models.types import Floats, Labels
from research.rivals.features import frozen_network
from research.rivals.protocol import Fit, Training

_VAL_PARTS = 10  # one of them is the share that the service cuts from train where no val is given
_SHIFTS = np.linspace(-3, 3, 61)  # logarithms of the factors that are tried
_PASSES = 2


def erm(training: Training) -> Fit:
    """ERM as the service trains it: SGD on a tenth less than the training set, the epoch best on that tenth.

    Epochs, batches and rate are the service's defaults for photographs with a frozen backbone.
    """
    labels, run = training.labels, Run(seed=training.seed)
    val = folds(labels, count=_VAL_PARTS, rng=training.rng(2)) == 0
    config = default_hyperparameters(None, int((~val).sum()), len(training.classes))
    train_batches, val_batches = (
        FeatureLoader(training.last.values[part], labels[part], rows, batch_size=config.batch_size, run=run)
        for part, rows in ((~val, np.flatnonzero(~val)), (val, np.flatnonzero(val)))
    )
    pixels, classes = training.images.shape[1], len(training.classes)
    network = frozen_network(training.network.spec.name, pixels, classes, training.seed)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            network,
            FitData(train_batches, val_batches),
            config=erm_config(config),
            run=run,
            checkpoints=CheckpointFolder(Path(folder)),
        )
    return Fit(head_of(network))


def control(training: Training) -> Fit:
    """The product's fit, balanced over the classes."""
    return Fit(training.control.head)


def class_scaling(training: Training) -> Fit:
    """The control, its class probabilities multiplied by a factor each (Seo and Han 2025).

    The paper chooses the factors for the worst group of a labelled validation split; here it is the worst
    class of the held-out predictions, the nearest thing that needs no groups.
    """
    shifts = _best_shifts(training.held_out, training.labels)
    return Fit(Head(training.control.head.weight, training.control.head.bias + shifts.astype(np.float32)))


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
