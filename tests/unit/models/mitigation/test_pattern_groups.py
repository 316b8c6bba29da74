"""Groups of label × pattern: which images are in which."""

from __future__ import annotations

import numpy as np

from models.mitigation.pattern_groups import (
    LEAST_OF_A_PATTERN,
    divided_by_pattern,
    pattern_groups,
)


def test_two_classes_have_their_own_pattern_or_another() -> None:
    groups = pattern_groups(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 0, -1]), ("cat", "dog"))
    assert groups.names == (
        "cat · own pattern",
        "cat · another pattern",
        "dog · own pattern",
        "dog · another pattern",
    )
    assert groups.assigned.tolist() == [0, 1, 2, 3, -1]  # unknown: in no group
    assert groups.lacking == (False, True, False, True)


def three_classes(of_last: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of the first class that show the pattern of each, the last class's `of_last` times."""
    patterns = np.repeat([0, 1, 2], [50, LEAST_OF_A_PATTERN, of_last])
    return np.zeros(len(patterns), np.int64), patterns


def test_each_pattern_is_a_group_where_each_has_images_enough() -> None:
    groups = pattern_groups(*three_classes(LEAST_OF_A_PATTERN), ("a", "b", "c"))
    assert groups.names[:3] == ("a · own pattern", "a · pattern of b", "a · pattern of c")
    assert np.bincount(groups.assigned).tolist() == [50, LEAST_OF_A_PATTERN, LEAST_OF_A_PATTERN]
    few = pattern_groups(*three_classes(LEAST_OF_A_PATTERN - 1), ("a", "b", "c"))
    assert few.names[:2] == ("a · own pattern", "a · another pattern")


def test_only_counted_images_decide_and_all_are_assigned() -> None:
    labels, patterns = three_classes(LEAST_OF_A_PATTERN)
    counted = patterns != 2
    groups = pattern_groups(labels, patterns, ("a", "b", "c"), counted=counted)
    assert groups.names[:2] == ("a · own pattern", "a · another pattern")
    assert (groups.assigned == np.minimum(patterns, 1)).all()


def test_a_class_is_divided_only_by_two_clusters_whose_labels_look_right() -> None:
    labels = np.repeat([0, 1], 6)
    patterns = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0])
    weights = np.ones(12)
    weights[10] = 0.2  # then one is left
    clusters = np.arange(12)
    groups = divided_by_pattern(
        labels, patterns, ("cat", "dog"), clusters=clusters, weights=weights, details={}
    )
    assert groups.counts == {"cat · own pattern": 4, "cat · another pattern": 2, "dog": 5}
    assert groups.memberships(labels).sum(1).tolist() == weights.tolist()
    clusters[5] = 4  # two images of one subject
    again = divided_by_pattern(
        labels, patterns, ("cat", "dog"), clusters=clusters, weights=np.ones(12), details={}
    )
    assert list(again.counts) == ["cat", "dog · own pattern", "dog · another pattern"]
