"""A last layer balanced over groups: the minority is won back, the penalty chosen on training data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from models.backbones import build_network
from models.config import HeadConfig
from models.groups import class_groups, cross_mistakes, given_groups
from models.heads import Features
from models.retrain import RetrainedHead, describe_groups, retrain_head
from tests.unit.models.test_groups import CLASSES, places, shortcut_features

WIDTH = 256  # what SmallCNN's last layer sees


def _wide(features: Features) -> Features:
    """The same samples, the other features of small_cnn being noise."""
    rng = np.random.default_rng(9)
    noise = rng.normal(size=(len(features.rows), WIDTH - features.values.shape[1])).astype(np.float32)
    return Features(
        features.rows, features.labels, np.concatenate([features.values, 0.1 * noise], 1), features.logits
    )


def _worst(head: RetrainedHead, test: Features, groups: np.ndarray) -> float:
    right = head.head.logits(test.values).argmax(1) == test.labels
    return min(float(right[groups == g].mean()) for g in range(4))


def test_balanced_heads_win_the_minority_back() -> None:
    network = build_network("small_cnn", classes=2, image_size=16)
    train, test = _wide(shortcut_features()), _wide(shortcut_features(majority=100, minority=100, seed=5))
    at_test = test.labels * 2 + places(100, 100)
    config = HeadConfig(penalties=(10.0, 1.0, 0.1))
    worst = {}
    for name, groups in {
        "control": class_groups(train.labels, CLASSES),
        "inferred": cross_mistakes(train, config, classes=CLASSES, seed=0),
        "given": given_groups(train.labels, places(), classes=CLASSES, names=("land", "water")),
    }.items():
        found = retrain_head(network, train, groups, config, seed=0)
        worst[name] = _worst(found, test, at_test)
        weight = network.classifier.weight.detach()
        assert torch.equal(weight, torch.from_numpy(found.head.weight))
    assert worst["inferred"] > worst["control"] + 0.1
    assert worst["given"] > worst["control"] + 0.1


def test_memberships_correct_less_than_a_cut_where_there_is_nothing_to_correct() -> None:
    """No shortcut: the mistakes are the hardest samples of either class, and no group of the test."""
    network = build_network("small_cnn", classes=2, image_size=16)
    train, test = (
        _wide(shortcut_features(majority=n, minority=n, seed=seed)) for n, seed in ((80, 3), (150, 6))
    )
    config = HeadConfig(penalties=(10.0, 1.0, 0.1))
    inferred = cross_mistakes(train, config, classes=CLASSES, seed=0)
    right = {}
    for name, groups in {
        "control": class_groups(train.labels, CLASSES),
        "cut": replace(inferred, doubt=None),
        "doubt": inferred,
    }.items():
        head = retrain_head(network, train, groups, config, seed=0).head
        right[name] = float((head.logits(test.values).argmax(1) == test.labels).mean())
    assert right["cut"] < right["control"]
    assert right["doubt"] > right["cut"]


def test_the_largest_penalty_within_one_standard_error_is_taken() -> None:
    network = build_network("small_cnn", classes=2, image_size=16)
    train = _wide(shortcut_features())
    groups = class_groups(train.labels, CLASSES)
    config = HeadConfig(penalties=(1000.0, 1.0, 0.01))
    found = retrain_head(network, train, groups, config, seed=0)
    best = min(found.candidates, key=lambda c: c.loss)
    assert found.penalty == max(c.penalty for c in found.candidates if c.loss <= best.loss + best.error)
    assert {c.penalty for c in found.candidates} == {1000.0, 1.0, 0.01}
    assert all(c.error > 0 for c in found.candidates)
    again = retrain_head(network, train, groups, config, seed=0)
    assert np.array_equal(again.head.weight, found.head.weight)


def test_a_report_of_groups_counts_every_model_and_shows_the_surest_first() -> None:
    train = shortcut_features()
    groups = cross_mistakes(train, HeadConfig(), classes=CLASSES, seed=0)
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
