"""A last layer balanced over groups: the penalty chosen on training data, the groups reported."""

from __future__ import annotations

import numpy as np
import pytest

from masktune.contract.hyperparameters import HeadConfig
from models.backbones.build import build_network
from models.mitigation.features import Features
from models.mitigation.groups import class_groups
from models.mitigation.logistic import Standardised
from models.mitigation.retrain import Candidate, choose_penalty, cross_fits, describe_groups, retrain_head
from tests.support.seeds import shifted
from tests.unit.models.mitigation.test_groups import CLASSES, shortcut_features, shortcut_groups

pytestmark = pytest.mark.trains

WIDTH = 256  # what SmallCNN's last layer sees


def wide(features: Features) -> Features:
    """The same samples, the other features of small_cnn being noise."""
    rng = np.random.default_rng(shifted(9))
    noise = rng.normal(size=(len(features.rows), WIDTH - features.values.shape[1])).astype(np.float32)
    return Features(
        features.rows, features.labels, np.concatenate([features.values, 0.1 * noise], 1), features.logits
    )


def test_the_largest_penalty_within_one_standard_error_is_taken() -> None:
    network = build_network("small_cnn", classes=2, image_size=16, seed=shifted(0))
    train = wide(shortcut_features())
    groups = class_groups(train.labels, CLASSES)
    config = HeadConfig(penalties=(1000.0, 1.0, 0.01), folds=2, repeats=1)
    found = retrain_head(network, train, groups, config, seed=shifted(0))
    best = min(found.candidates, key=lambda c: c.loss)
    assert found.penalty == max(c.penalty for c in found.candidates if c.loss <= best.loss + c.error)
    assert {c.penalty for c in found.candidates} == {1000.0, 1.0, 0.01}
    assert [c for c in found.candidates if c.error == 0] == [best]
    again = retrain_head(network, train, groups, config, seed=shifted(0))
    assert np.array_equal(again.head.weight, found.head.weight)


@pytest.mark.parametrize(
    ("penalties", "plain", "divided"),
    [
        ((30.0, 10.0, 3.0, 1.0), 1.0, 10.0),
        ((30.0, 8.0, 3.0, 1.0), 1.0, 8.0),
        ((30.0, 20.0), 20.0, 20.0),
        ((3.0, 1.0, 0.3), 0.3, 3.0),
    ],
)
def test_groups_that_divide_a_class_allow_two_errors_and_a_penalty_of_ten(
    penalties: tuple[float, ...], plain: float, divided: float
) -> None:
    *others, last = penalties
    candidates = [Candidate(penalty, 0.5 + 0.15, 0.1) for penalty in others] + [Candidate(last, 0.5, 0.0)]
    assert choose_penalty(candidates, is_divided=False) == plain
    assert choose_penalty(candidates, is_divided=True) == divided


def test_losses_are_told_apart_by_their_difference_on_the_same_samples() -> None:
    """A fifth of the labels are wrong, which costs all heads alike. One feature is class and noise, another
    is that noise alone: to subtract it takes large weights."""
    rng, labels = np.random.default_rng(shifted(0)), np.arange(600) % 2
    true_labels, noise = np.where(rng.random(600) < 0.2, 1 - labels, labels), rng.normal(size=600)
    values = np.zeros((600, WIDTH), np.float32)
    values[:, 0], values[:, 1] = 4 * true_labels + 3 * noise, noise
    train = Features(np.arange(600), labels, values, np.zeros((600, 2), np.float32))
    groups, config = class_groups(labels, CLASSES), HeadConfig(penalties=(0.1, 0.01), folds=2, repeats=1)
    network = build_network("small_cnn", classes=2, image_size=16, seed=shifted(0))
    found = retrain_head(network, train, groups, config, seed=shifted(0))
    strong, weak = found.candidates
    best = cross_fits(Standardised.of(values), train, groups, config, seed=shifted(0))[weak.penalty]
    assert strong.error < np.linalg.norm(best.influence) / 2
    assert (found.penalty == weak.penalty) is (strong.loss - weak.loss > strong.error)


def test_copies_are_held_out_together_and_are_no_more_evidence_than_one() -> None:
    """Features are more than samples, labels are noise: whoever has seen the copy knows it by heart."""
    rng, images, copies = np.random.default_rng(shifted(0)), np.arange(120), np.arange(480)
    labels, values = images % 2, rng.normal(size=(120, WIDTH)).astype(np.float32)
    rows = copies // 4
    once = Features(images, labels, values, np.zeros((120, 2), np.float32))
    often = Features(copies, labels[rows], values[rows], np.zeros((480, 2), np.float32))
    network = build_network("small_cnn", classes=2, image_size=16, seed=shifted(0))
    config = HeadConfig(penalties=(0.1, 0.01), folds=2, repeats=1)

    def held_out(features: Features, pictures: np.ndarray | None = None) -> tuple[float, float]:
        """How often it is right, and the standard error of the difference of its two losses."""
        groups = class_groups(features.labels, CLASSES)
        new_head = retrain_head(network, features, groups, config, seed=shifted(0), clusters=pictures)
        return float((new_head.held_out == features.labels).mean()), max(c.error for c in new_head.candidates)

    aware, unaware = held_out(often, rows), held_out(often)
    assert aware[0] < 0.75 < unaware[0]
    assert aware[1] == pytest.approx(held_out(once)[1], rel=0.1)


def test_intervals_of_groups_count_subjects() -> None:
    train = shortcut_features()
    groups = class_groups(train.labels, CLASSES)
    predictions_by_arm = {"erm": train.predictions}
    images, subjects = (
        describe_groups(
            groups, rows=train.rows, labels=train.labels, predictions=predictions_by_arm, clusters=clusters
        )[0]
        for clusters in (None, np.arange(len(train.rows)) // 10)
    )
    one, other = images.accuracies[0], subjects.accuracies[0]
    assert (one.n, one.correct) == (other.n, other.correct)
    assert (one.n_subjects, other.n_subjects) == (None, 16)
    assert other.high - other.low > 1.5 * (one.high - one.low)


def test_a_report_of_groups_counts_every_model_and_shows_the_surest_first() -> None:
    train, groups = shortcut_features(), shortcut_groups()
    said = {"erm": train.predictions, "oracle": train.labels}
    reports = describe_groups(groups, rows=train.rows, labels=train.labels, predictions=said)
    assert [r.name for r in reports] == list(groups.names)
    assert sum(r.n for r in reports) == len(train.rows)
    assert groups.doubt is not None
    for number, report in enumerate(reports):
        assert report.inferred
        mine = np.flatnonzero(groups.assigned == number)
        assert report.n == len(mine)
        assert set(report.examples) <= set(train.rows[mine].tolist())
        doubts = [groups.doubt[row - 1000] for row in report.examples]
        assert doubts == sorted(doubts, reverse=report.name.endswith("judged wrong"))
        erm, oracle = report.accuracies
        assert (erm.model, erm.correct) == ("erm", int((train.predictions == train.labels)[mine].sum()))
        assert oracle.accuracy == 1
