"""Groups without labels: a planted shortcut is found and undone, one that is not there is not invented."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from masktune.contract.hyperparameters import HeadConfig
from models.mitigation.features import Features
from models.mitigation.groups import (
    Groups,
    class_groups,
    cross_mistakes,
    label_groups,
)
from tests.support.seeds import shifted

CLASSES = ("cat", "dog")
CONFIG = HeadConfig()


def shortcut_features(
    *, majority: int = 150, minority: int = 10, width: int = 12, core: float = 0.5, seed: int = 0
) -> Features:
    """Half of the features follow the class by `core`, the others a place that goes with it in most samples.

    `rows` are 1000 + the index; groups are (label, place) in the order (0,0) (0,1) (1,0) (1,1).
    """
    rng = np.random.default_rng(shifted(seed))
    labels = np.repeat([0, 0, 1, 1], [majority, minority, minority, majority])
    places = np.repeat([0, 1, 0, 1], [majority, minority, minority, majority])
    half = width // 2
    of_class = rng.normal(size=(len(labels), half)) + core * (2 * labels - 1)[:, None]
    spurious = rng.normal(size=(len(labels), half)) + 2.0 * (2 * places - 1)[:, None]
    values = np.concatenate([of_class, spurious], 1).astype(np.float32)
    logits = np.stack([-values[:, half], values[:, half]], 1)
    return Features(1000 + np.arange(len(labels)), labels.astype(np.int64), values, logits)


def places(majority: int = 150, minority: int = 10) -> np.ndarray:
    return np.repeat([0, 1, 0, 1], [majority, minority, minority, majority]).astype(np.int64)


@cache
def shortcut_groups() -> Groups:
    return cross_mistakes(shortcut_features(), CONFIG, classes=CLASSES, seed=shifted(0))


def judged_wrong(groups: Groups) -> np.ndarray:
    return np.array([name.endswith("judged wrong") for name in groups.names])[groups.assigned]


@pytest.mark.trains
def test_cross_mistakes_find_most_of_the_minority() -> None:
    features = shortcut_features(core=0.2)
    groups = cross_mistakes(features, CONFIG, classes=CLASSES, seed=shifted(0))
    minority = features.labels != places()
    wrong = judged_wrong(groups)
    assert groups.inferred
    assert wrong[minority].mean() > 0.9
    assert minority[wrong].mean() > 0.9
    assert groups.names == (
        "cat · judged right",
        "cat · judged wrong",
        "dog · judged right",
        "dog · judged wrong",
    )
    assert sum(groups.counts.values()) == len(features.rows)
    assert groups.details["flagged"][-1] == wrong.sum()


@pytest.mark.trains
def test_memberships_are_the_doubt_where_a_class_was_divided() -> None:
    features, groups = shortcut_features(), shortcut_groups()
    members = groups.memberships(features.labels)
    assert groups.doubt is not None
    assert np.allclose(members.sum(1), 1)
    assert np.allclose(members[:, 1] + members[:, 3], groups.doubt)
    assert (members[features.labels == 0][:, 2:] == 0).all()
    assert (members.argmax(1) == groups.assigned).all()
    hard = replace(groups, doubt=None).memberships(features.labels)
    assert (hard == np.eye(4)[groups.assigned]).all()
    undivided = replace(groups, assigned=features.labels, names=CLASSES).memberships(features.labels)
    assert (undivided == np.eye(2)[features.labels]).all()


def mislabelled(copies: int) -> tuple[Features, np.ndarray, np.ndarray]:
    """More features than samples, so that a head knows by heart what it was fitted to; three images of each
    class have the other label, and stand there `copies` times. Also who they are, and the pictures.
    """
    rng = np.random.default_rng(shifted(0))
    true = np.repeat([0, 1], 40)
    values = rng.normal(size=(80, 400)) + (2 * true - 1)[:, None] * np.where(np.arange(400) < 80, 1, 0)
    wrong = np.isin(np.arange(80), [0, 1, 2, 77, 78, 79])
    labels = np.where(wrong, 1 - true, true)
    rows = np.concatenate([np.arange(80), *[np.flatnonzero(wrong)] * (copies - 1)])
    logits = np.zeros((len(rows), 2), np.float32)
    return Features(rows, labels[rows], values[rows].astype(np.float32), logits), wrong[rows], 900 - rows


@pytest.mark.trains
@pytest.mark.parametrize("copies", [1, 2, 8])
def test_a_mislabelled_picture_is_found_however_often_it_stands_there(copies: int) -> None:
    features, wrong, pictures = mislabelled(copies)
    config = HeadConfig(judge_penalties=(0.01,), rounds=0)
    groups = cross_mistakes(features, config, classes=CLASSES, seed=shifted(0), clusters=pictures)
    assert judged_wrong(groups)[wrong].all()
    assert not judged_wrong(groups)[~wrong].any()
    if copies > 2:  # a head that has seen a copy, as nearly each one has, knows the wrong label
        unaware = cross_mistakes(features, config, classes=CLASSES, seed=shifted(0))
        assert not judged_wrong(unaware)[wrong].any()


@pytest.mark.trains
def test_without_mistakes_the_groups_are_the_classes() -> None:
    features = shortcut_features(majority=50, minority=0)
    groups = cross_mistakes(features, CONFIG, classes=CLASSES, seed=shifted(0))
    assert groups.names == CLASSES
    assert groups.assigned.tolist() == features.labels.tolist()


@pytest.mark.trains
def test_three_classes() -> None:
    rng = np.random.default_rng(shifted(0))
    labels = np.repeat([0, 1, 2], 30)
    values = (rng.normal(size=(90, 6)) + np.eye(3).repeat(2, 1)[labels] * 1.5).astype(np.float32)
    features = Features(np.arange(90), labels, values, values[:, :3])
    groups = cross_mistakes(features, CONFIG, classes=("a", "b", "c"), seed=shifted(0))
    class_of = [name[0] for name in groups.names]
    assert [class_of[g] for g in groups.assigned] == [("a", "b", "c")[label] for label in labels]


@pytest.mark.trains
def test_a_last_class_whose_every_sample_is_a_mistake_and_that_none_is_taken_for() -> None:
    labels = np.repeat([0, 1, 2], [20, 20, 4])
    shown = np.repeat([0, 1, 0, 1, 0, 1], [18, 2, 2, 18, 2, 2])
    values = 4 * np.eye(2)[shown] + 0.03 * np.random.default_rng(shifted(0)).normal(size=(44, 2))
    features = Features(np.arange(44), labels, values.astype(np.float32), np.zeros((44, 3), np.float32))
    config = HeadConfig(judge_penalties=(0.01,), rounds=1)
    groups = cross_mistakes(features, config, classes=("a", "b", "c"), seed=shifted(0))
    assert groups.details["flagged"][0] == 8
    assert set(groups.names) >= {"a · judged wrong", "b · judged wrong"}


def test_given_groups_are_class_and_group() -> None:
    labels, given = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 0, 1])
    groups = label_groups(labels, given, classes=CLASSES, names=("land", "water"))
    assert groups.names == ("cat · land", "cat · water", "dog · land", "dog · water")
    assert groups.assigned.tolist() == [0, 1, 2, 2, 3]
    assert not groups.inferred
    assert groups.details == {"smallest": 1}
    named = label_groups(
        labels, given + 2 * labels, classes=CLASSES, names=("cat · x", "cat · y", "dog · x", "dog · y")
    )
    assert named.names == ("cat · x", "cat · y", "dog · x", "dog · y")
    with pytest.raises(ValueError, match="1 training samples have no group"):
        label_groups(labels, np.array([0, 1, -1, 0, 0]), classes=CLASSES, names=("land", "water"))
    alike = label_groups(np.array([0, 1]), np.array([0, 0]), classes=("a", "ab"), names=("abroad",))
    assert alike.names == ("a · abroad", "ab · abroad")
    pairs = label_groups(
        np.zeros(5, np.int64),
        np.array([0, 0, 0, 1, 1]),
        classes=CLASSES,
        names=("land", "water"),
        clusters=np.array([0, 1, 2, 3, 3]),
    )
    assert pairs.details == {"smallest": 1}  # of two images of one subject


def test_classes_as_groups_are_the_control() -> None:
    groups = class_groups(np.array([0, 1, 1]), CLASSES)
    assert groups.counts == {"cat": 1, "dog": 2}


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": 0.0}, {"rounds": -1}, {"penalties": ()}, {"judge_penalties": (0.0,)}, {"folds": 1}],
)
def test_settings_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        HeadConfig(**wrong)  # type: ignore[arg-type]  # that is the test
