"""Metrics as counts over counts, and reliability."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from masktune.contract.report.accuracy import ArmMetrics
from masktune.contract.report.probabilities import Reliability
from models.backbones.build import build_network
from models.evaluation.metrics import Logits, Metrics, Names, confusion, metrics, predict_logits
from models.evaluation.reliability import calibration_error
from models.run import Run
from models.types import Labels
from tests.support.batches import Batches, noise


def test_accuracy_is_a_count_over_a_count() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    found = metrics(labels, np.array([0, 0, 0, 1, 1, 0]))
    assert (found.n, found.correct, found.accuracy) == (6, 4, 4 / 6)
    assert found.low < 4 / 6 < found.high
    assert found.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert (found.worst_class, found.worst_class_accuracy) == ("1", 0.5)
    assert (found.worst_group_accuracy, found.worst_group, found.train_weighted_accuracy) == (None,) * 3


def test_groups_are_measured_and_empty_ones_left_out() -> None:
    labels = np.zeros(10, np.int64)
    predictions = np.array([0, 0, 0, 1, 0, 0, 1, 1, 1, 1])
    groups = np.array([0, 0, 0, 0, 3, 3, 3, 3, -1, -1])
    names = Names(classes=("bird",), groups=("land", "a", "b", "water"))
    found = metrics(
        labels, predictions, groups=groups, train_group_weights={0: 90, 2: 1000, 3: 10}, names=names
    )
    assert [(g.name, g.n, g.correct, g.accuracy) for g in found.groups] == [
        ("land", 4, 3, 0.75),
        ("water", 4, 2, 0.5),
    ]
    assert (found.worst_group, found.worst_group_accuracy) == ("water", 0.5)
    assert (found.n, found.correct) == (10, 5)
    assert found.train_weighted_accuracy == pytest.approx(0.9 * 0.75 + 0.1 * 0.5)
    for name in (
        "balanced_accuracy",
        "worst_class_accuracy",
        "worst_group_accuracy",
        "train_weighted_accuracy",
    ):
        assert getattr(found, f"{name}_low") < getattr(found, name) < getattr(found, f"{name}_high")
    assert ArmMetrics.model_validate(found).n == found.n


def test_reliability_of_a_known_case() -> None:
    # Ten answers at probability 0.8, of which 5 right; ten at 0.5 + tiny, of which 5 right.
    logits = np.array([[np.log(4.0), 0.0]] * 10 + [[1e-4, 0.0]] * 10, np.float32)
    labels = np.array([0, 1] * 10)
    found = calibration_error(logits, labels)
    assert found is not None
    assert [(b.n, b.correct) for b in found.bins] == [(10, 5), (10, 5)]
    assert found.ece == pytest.approx(0.15, abs=1e-4)
    assert found.mce == pytest.approx(0.3, abs=1e-4)
    assert found.nll == pytest.approx(-(np.log(0.8) + np.log(0.2) + 2 * np.log(0.5)) / 4, abs=1e-4)
    assert found.brier == pytest.approx(((0.04 + 0.04) + (0.64 + 0.64) + 2 * 0.5) / 4, abs=1e-4)
    assert found.overconfidence == pytest.approx(0.15, abs=1e-4)
    for bin in found.bins:
        assert bin.accuracy_low < bin.accuracy < bin.accuracy_high
    assert Reliability.model_validate(found).n == found.n


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_answers_that_are_not_finite_are_left_out_and_counted(value: float) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 3, 40)
    broken = logits.copy()
    broken[[3, 8], 1] = value
    kept = np.delete(np.arange(40), [3, 8])
    found, expected = calibration_error(broken, labels), calibration_error(logits[kept], labels[kept])
    assert found is not None
    assert expected is not None
    assert (found.n, found.non_finite) == (38, 2)
    assert found == expected._replace(non_finite=2)
    assert calibration_error(np.full((4, 3), value, np.float32), labels[:4]) is None


def test_an_answer_that_is_not_finite_is_of_no_class() -> None:
    """Else a network of NaN is right on every image of the first class."""
    logits = np.array([[1, 2], [np.nan, 0], [0, np.nan], [np.inf, 0], [-np.inf, 0]], np.float32)
    labels = np.array([1, 0, 1, 0, 1])
    said = Logits(np.arange(5), labels, logits)
    assert said.predictions.tolist() == [1, -1, -1, -1, -1]
    assert metrics(labels, said.predictions).correct == 1


def test_logits_do_not_depend_on_the_batches_and_the_mode_is_given_back() -> None:
    network = build_network("small_cnn", classes=2, image_size=16)
    network.train()
    network.model.get_submodule("block1").eval()
    pixels, rows = noise(7), torch.arange(100, 107)
    one, many = (
        predict_logits(network, Batches(pixels, *sizes, rows=rows), Run()) for sizes in ((7,), (3, 3, 1))
    )
    assert np.array_equal(one.rows, np.arange(100, 107))
    assert one.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert np.allclose(one.logits, many.logits, atol=1e-5)
    assert network.training
    assert not network.model.get_submodule("block1").training


def test_subjects_with_a_single_image_have_the_intervals_of_images() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 90), rng.integers(-1, 2, 90)
    predictions = np.where(rng.random(90) < 0.8, labels, 0)

    def measured(clusters: Labels | None) -> Metrics:
        return metrics(
            labels, predictions, groups=groups, train_group_weights={0: 3, 1: 1}, clusters=clusters
        )

    plain, clustered = (ArmMetrics.model_validate(measured(of)) for of in (None, rng.permutation(90)))
    assert (plain.n_subjects, clustered.n_subjects) == (None, 90)
    assert clustered.classes[0].n_subjects == plain.classes[0].n
    counted = {"n_subjects", "classes", "groups"}
    assert plain.model_dump(exclude=counted) == clustered.model_dump(exclude=counted)


def test_copies_of_each_image_do_not_narrow_any_interval() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 200), rng.integers(0, 2, 200)
    predictions = np.where(rng.random(200) < 0.8, labels, 0)

    def measured(times: int) -> Metrics:
        return metrics(
            np.repeat(labels, times),
            np.repeat(predictions, times),
            groups=np.repeat(groups, times),
            train_group_weights={0: 3, 1: 1},
            clusters=np.repeat(np.arange(200), times),
        )

    alone, copied = measured(1), measured(8)
    for name in ("", "balanced_accuracy_", "worst_group_accuracy_", "train_weighted_accuracy_"):
        ends = [getattr(copied, f"{name}{end}") for end in ("low", "high")]
        assert ends == pytest.approx([getattr(alone, f"{name}{end}") for end in ("low", "high")], abs=0.01)
    assert (copied.n, copied.n_subjects, copied.groups[0].independent) == (1600, 200, alone.groups[0].n)


def test_copies_do_not_make_probabilities_look_better_known() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(300, 3)).astype(np.float32) * 2, rng.integers(0, 3, 300)
    clusters = np.repeat(np.arange(300), 6)
    alone = calibration_error(logits, labels)
    copied = calibration_error(np.repeat(logits, 6, axis=0), np.repeat(labels, 6), clusters=clusters)
    ignored = calibration_error(np.repeat(logits, 6, axis=0), np.repeat(labels, 6))
    assert alone is not None
    assert copied is not None
    assert ignored is not None
    assert copied.n_subjects == 300
    for name in ("ece", "nll", "brier", "overconfidence"):
        widths = [getattr(of, f"{name}_high") - getattr(of, f"{name}_low") for of in (alone, copied, ignored)]
        assert widths[1] == pytest.approx(widths[0], rel=0.15)
        assert widths[2] < widths[0] / 2
    assert copied.ece_by_chance == pytest.approx(alone.ece_by_chance, rel=0.15)


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
    assert metrics(LABELS, PREDICTIONS, groups=np.full(6, -1)).worst_group_accuracy is None


def test_each_label_needs_its_prediction() -> None:
    for labels, predictions in ((LABELS, PREDICTIONS[:-1]), (LABELS[:0], PREDICTIONS[:0])):
        with pytest.raises(ValueError, match="a prediction for each label"):
            metrics(labels, predictions)


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


def test_each_class_is_counted_by_its_answers() -> None:
    answers = np.array([[2.0, 1, 0], [0, 1, 0], [0, 0, 1], [np.nan, 0, 0]], np.float32)
    logits = Logits(np.arange(4), np.array([0, 0, 2, 2]), answers)
    assert confusion(logits).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]
