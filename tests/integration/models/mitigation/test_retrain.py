"""What last layers balanced over groups win back, and what they cost where there is nothing to correct."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from masktune.contract.hyperparameters import HeadConfig
from models.backbones.build import build_network
from models.mitigation.features import Features
from models.mitigation.groups import class_groups, cross_mistakes, label_groups
from models.mitigation.retrain import RetrainedHead, retrain_head
from tests.support.seeds import shifted
from tests.unit.models.mitigation.test_groups import CLASSES, CONFIG, judged_wrong, places, shortcut_features
from tests.unit.models.mitigation.test_retrain import wide

pytestmark = pytest.mark.trains


def _worst(head: RetrainedHead, test: Features, groups: np.ndarray) -> float:
    right = head.head.logits(test.values).argmax(1) == test.labels
    return min(float(right[groups == g].mean()) for g in range(4))


def test_balanced_heads_win_the_minority_back() -> None:
    network = build_network("small_cnn", classes=2, image_size=16, seed=shifted(0))
    train, test = (
        wide(shortcut_features(core=0.8)),
        wide(shortcut_features(majority=100, minority=100, core=0.8, seed=5)),
    )
    at_test = test.labels * 2 + places(100, 100)
    config = HeadConfig(penalties=(10.0, 1.0, 0.1))
    worst = {}
    for name, groups in {
        "control": class_groups(train.labels, CLASSES),
        "inferred": cross_mistakes(train, config, classes=CLASSES, seed=shifted(0)),
        "labels": label_groups(train.labels, places(), classes=CLASSES, names=("land", "water")),
    }.items():
        found = retrain_head(network, train, groups, config, seed=shifted(0))
        worst[name] = _worst(found, test, at_test)
        weight = network.classifier.weight.detach()
        assert torch.equal(weight, torch.from_numpy(found.head.weight))
    assert worst["inferred"] > worst["control"]
    assert worst["labels"] > worst["control"]


def test_memberships_correct_less_than_a_cut_where_there_is_nothing_to_correct() -> None:
    """No shortcut: the mistakes are the hardest samples of either class. A head that is balanced over them is
    turned away from the one that is balanced over the classes alone; less, where each counts by its doubt."""
    network = build_network("small_cnn", classes=2, image_size=16, seed=shifted(0))
    train, config = wide(shortcut_features(majority=80, minority=80, seed=3)), HeadConfig(penalties=(1.0,))
    inferred = cross_mistakes(train, config, classes=CLASSES, seed=shifted(0))
    control, cut, doubt = (
        retrain_head(network, train, groups, config, seed=shifted(0)).head.weight
        for groups in (class_groups(train.labels, CLASSES), replace(inferred, doubt=None), inferred)
    )
    assert np.linalg.norm(doubt - control) < np.linalg.norm(cut - control)


def test_sharpening_finds_no_fewer_minority_samples() -> None:
    features = shortcut_features(seed=2)
    minority = features.labels != places()
    found = [
        int(
            (
                judged_wrong(
                    cross_mistakes(features, replace(CONFIG, rounds=rounds), classes=CLASSES, seed=shifted(0))
                )
                & minority
            ).sum()
        )
        for rounds in (0, 2)
    ]
    assert found[1] >= found[0]
