"""Whom a mean over groups counts, and what cannot be judged at all."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.metrics import Logits, metrics
from models.evaluation.reliability import calibration_error

LABELS, PREDICTIONS, GROUPS = (
    np.array([0, 0, 0, 0, 1, 1]),
    np.array([0, 0, 0, 1, 1, 1]),
    np.array([0, 0, 1, 1, 2, -1]),
)


def test_a_group_that_was_not_trained_on_weighs_nothing() -> None:
    found = metrics(LABELS, PREDICTIONS, groups=GROUPS, train_group_weights={0: 30, 1: 10, 7: 60})
    assert found.train_weighted_accuracy == pytest.approx(0.75 * 1 + 0.25 * 0.5)


@pytest.mark.parametrize("weights", [None, {}, {7: 60.0}, {0: 0.0}])
def test_without_a_weight_for_any_group_there_is_no_weighted_mean(weights: dict[int, float] | None) -> None:
    found = metrics(LABELS, PREDICTIONS, groups=GROUPS, train_group_weights=weights)
    assert (found.train_weighted_accuracy, found.train_weighted_accuracy_low) == (None, None)
    assert (found.worst_group, found.worst_group_accuracy) == ("1", 0.5)


def test_samples_without_a_group_are_in_no_group_and_in_everything_else() -> None:
    found = metrics(LABELS, PREDICTIONS, groups=GROUPS)
    assert [(group.id, group.n) for group in found.groups] == [(0, 2), (1, 2), (2, 1)]
    assert (found.n, found.correct) == (6, 5)
    assert metrics(LABELS, PREDICTIONS, groups=np.full(6, -1)).worst_group_accuracy is None


def test_each_label_needs_its_prediction() -> None:
    for labels, predictions in ((LABELS, PREDICTIONS[:-1]), (LABELS[:0], PREDICTIONS[:0])):
        with pytest.raises(ValueError, match="a prediction for each label"):
            metrics(labels, predictions)


def test_a_prediction_is_the_class_of_the_largest_logit() -> None:
    logits = np.array([[0.1, 3.0, -1.0], [2.0, 2.0, 1.0], [-3.0, -2.0, -1.0]], np.float32)
    found = Logits(np.arange(3), np.arange(3), logits).predictions
    assert found.tolist() == [1, 0, 2]


def test_the_bins_are_fifteen_of_one_width_and_each_holds_its_upper_edge() -> None:
    """Where the top probability is 3/5, 4/5 and all but 1."""
    odds = np.array([1.5, 4.0, 1e9])
    found = calibration_error(
        np.stack([np.log(odds), np.zeros(3)], 1).astype(np.float64), np.zeros(3, np.int64)
    )
    assert found is not None
    edges = [(round(15 * one.low), round(15 * one.high), one.n) for one in found.bins]
    assert [high - low for low, high, _ in edges] == [1, 1, 1]
    assert edges[-1] == (14, 15, 1)
    assert all(one.low < one.confidence <= one.high + 1e-9 for one in found.bins)


def test_nothing_has_no_reliability() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        calibration_error(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))


def test_logits_of_any_height_have_the_loss_of_their_differences() -> None:
    """e^1000 is no number: what is certain and wrong costs what it costs."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(30, 3)).astype(np.float32), rng.integers(0, 3, 30)
    low, high = (calibration_error(logits + np.float32(shift), labels) for shift in (0, 4096))
    certain = calibration_error(np.array([[1000, 0], [0, 1000]], np.float32), np.array([0, 0]))
    assert low is not None
    assert high is not None
    assert certain is not None
    assert (high.nll, high.brier, high.ece) == pytest.approx((low.nll, low.brier, low.ece), abs=1e-3)
    assert (certain.nll, certain.brier, certain.mce) == pytest.approx((500, 1, 0.5))
