"""Accuracies on images that lack the pattern of their class and on others, in another mix."""

from __future__ import annotations

import numpy as np
import pytest

from worker.report.inferred import mix_points, rest_alike

LACKS = np.repeat([True, False, True, False], [40, 60, 10, 290])
CLASSES = np.repeat([0, 1], [100, 300])


def outcomes(*right: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """So many right answers on the images of both classes that lack the pattern, and that do not."""
    return np.concatenate([np.arange(n) < k for k, n in zip(right, (40, 60, 10, 290), strict=True)])


RIGHT = outcomes(20, 54, 8, 290)


def test_it_is_the_mean_within_each_class_at_its_share_of_the_images() -> None:
    points = mix_points(RIGHT, CLASSES, LACKS, None)
    assert [point.share for point in points][::6] == [0.05, 0.35, 0.65, 0.95]
    for point in points:
        of_class = (point.share * a + (1 - point.share) * b for a, b in ((0.5, 0.9), (0.8, 1.0)))
        assert point.accuracy == pytest.approx(np.average(list(of_class), weights=[1, 3]))
        assert point.low < point.accuracy < point.high


def test_a_pattern_without_effect_changes_nothing_where_one_class_is_harder() -> None:
    right = outcomes(20, 30, 10, 290)  # half of the first class, all of the second
    assert {round(point.accuracy, 9) for point in mix_points(right, CLASSES, LACKS, None)} == {0.875}
    assert rest_alike(right, CLASSES, LACKS) == pytest.approx(right[LACKS].mean())


def test_a_class_with_images_of_one_kind_alone_does_not_count() -> None:
    first = CLASSES == 0
    other = np.where(first, LACKS, False)
    alone = mix_points(RIGHT[first], CLASSES[first], LACKS[first], None)
    assert mix_points(RIGHT, CLASSES, other, None) == alone
    assert rest_alike(RIGHT, CLASSES, other) == 0.9
    assert mix_points(RIGHT, CLASSES, ~first, None) == []
    assert rest_alike(RIGHT, CLASSES, ~first) is None


def test_images_of_one_subject_widen_its_interval() -> None:
    clusters = np.arange(len(RIGHT)) // 10  # ten images each, nearly all answered alike
    for alone, together in zip(
        mix_points(RIGHT, CLASSES, LACKS, None), mix_points(RIGHT, CLASSES, LACKS, clusters), strict=True
    ):
        assert alone.accuracy == together.accuracy
        assert together.high - together.low > alone.high - alone.low
