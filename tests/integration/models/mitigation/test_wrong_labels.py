"""Wrong labels among the images that seem to lack the pattern of their class."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
from numpy.typing import NDArray

from masktune.contract.hyperparameters import HeadConfig
from models.mitigation.minority import Minority
from models.mitigation.pattern_judge import fit_pattern_judge
from models.mitigation.wrong_labels import are_wrong
from models.types import Bools
from tests.integration.models.mitigation.test_finder import biased, infer, stage_features
from tests.support.seeds import shifted

pytestmark = pytest.mark.trains

MAJORITY, MINORITY = 300, 30
CONFIG = HeadConfig(penalties=(1.0, 0.1), judge_penalties=(1.0, 0.1), repeats=1)


def mislabelled(
    *shares: float, seed: int = 0, right_labels: Collection[int] = ()
) -> tuple[Minority, NDArray[np.int64], Bools, Bools]:
    """What the finder says of two classes of which these shares have the other's label; their labels, which
    of them are wrong, and which images truly lack the pattern of their class."""
    true, places = biased(majority=MAJORITY, minority=MINORITY)
    wrong = np.random.default_rng(shifted(seed)).random(len(true)) < np.array(shares)[true]
    labels = np.where(wrong, 1 - true, true)
    features = stage_features(labels, places, true=true, last=(3.0, 0.5), seed=seed)
    return infer(features, config=CONFIG, right_labels=right_labels), labels, wrong, true != places


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_wrong_labels_are_told_from_images_that_lack_the_pattern(share: float) -> None:
    minority, labels, wrong, lacks = mislabelled(share, share)
    assert minority.reason == "stages_agree"
    assert minority.label_doubt is not None
    named = minority.label_doubt > 0.5
    contradicted = wrong & ~lacks  # the others of them show the pattern of the label that they were given
    assert named[contradicted].mean() > 0.9
    assert wrong[named].mean() > 0.9
    assert minority.groups.weights is not None
    assert minority.groups.memberships(labels)[contradicted].sum(1).mean() < 0.1
    assert not wrong[list(minority.candidates)].mean() > 0.1


def test_doubted_labels_of_one_class_are_to_be_looked_at_and_keep_their_weight() -> None:
    minority, labels, wrong, _ = mislabelled(0.1, 0.0)
    assert minority.label_doubt is not None
    named = minority.label_doubt > 0.5
    assert wrong[named].mean() > 0.9
    assert not are_wrong(minority.label_doubt, labels)
    assert minority.groups.weights is not None
    assert (minority.groups.weights == 1).all()
    assert named[list(minority.candidates)].any()


def test_a_label_that_a_person_said_is_right_is_never_taken_for_wrong() -> None:
    doubtful, labels, _, _ = mislabelled(0.1, 0.1)
    assert doubtful.label_doubt is not None
    assert are_wrong(doubtful.label_doubt, labels)
    right = np.flatnonzero(doubtful.label_doubt > 0.5)[::4]
    minority, _, _, _ = mislabelled(0.1, 0.1, right_labels=right.tolist())
    assert minority.label_doubt is not None
    assert (minority.label_doubt[right] == 0).all()
    assert minority.groups.weights is not None
    assert (minority.groups.weights[right] == 1).all()
    assert (minority.label_doubt > 0.5).any()  # of the others


def test_without_wrong_labels_the_minority_keeps_its_weight() -> None:
    minority, labels, _, _ = mislabelled(0.0, 0.0)
    assert minority.label_judge is None
    assert minority.label_doubt is not None
    assert not minority.label_doubt.any()
    assert (minority.groups.memberships(labels).sum(1) == 1).all()


def test_wrong_labels_alone_are_no_minority() -> None:
    true, places = biased(majority=MAJORITY, minority=0)
    wrong = np.random.default_rng(shifted(1)).random(len(true)) < 0.08
    features = stage_features(np.where(wrong, 1 - true, true), places, true=true, last=(3.0, 0.5))
    minority = infer(features, config=CONFIG)
    assert minority.reason == "wrong_labels"
    assert not minority.is_open
    assert minority.groups.names == ("class 0", "class 1")
    assert minority.label_doubt is not None
    assert (minority.label_doubt > 0.5)[wrong].mean() > 0.9
    assert fit_pattern_judge(features, minority).stage == minority.stage  # for the images of other splits


def test_the_judge_carries_over_to_other_images() -> None:
    minority, _, _, _ = mislabelled(0.05, 0.05)
    true, places = biased(majority=MAJORITY, minority=MAJORITY)  # a balanced split has many that lack it
    wrong = np.random.default_rng(shifted(7)).random(len(true)) < 0.05
    labels = np.where(wrong, 1 - true, true)
    others = stage_features(labels, places, true=true, last=(3.0, 0.5), seed=9)
    assert minority.label_judge is not None
    doubt = minority.label_judge.doubt(others.last.values, labels, places)
    assert (doubt > 0.5)[wrong & (labels != places)].mean() > 0.9
    assert wrong[doubt > 0.5].mean() > 0.9
    assert doubt[labels == places].max() == 0
