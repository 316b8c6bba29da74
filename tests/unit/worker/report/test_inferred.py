"""Accuracies on images that lack the pattern of their class and on others, in another mix."""

from __future__ import annotations

import numpy as np
import pytest

from models.statistics import mean_share
from worker.report.inferred import mix_points

HAS_PATTERN = np.repeat([False, True], [40, 60])
RIGHT = np.concatenate([np.repeat([True, False], [20, 20]), np.repeat([True, False], [54, 6])])


def test_it_is_the_mean_of_both_parts_weighted_by_the_share() -> None:
    points = mix_points(RIGHT, HAS_PATTERN, None)
    assert [point.share for point in points][::6] == [0.05, 0.35, 0.65, 0.95]
    for point in points:
        assert point.accuracy == pytest.approx(0.5 * point.share + 0.9 * (1 - point.share))
        assert (point.low, point.high) == mean_share([(20, 40), (54, 60)], [point.share, 1 - point.share])


def test_images_of_one_subject_widen_its_interval() -> None:
    clusters = np.arange(len(RIGHT)) // 10  # ten images each, nearly all answered alike
    for alone, together in zip(
        mix_points(RIGHT, HAS_PATTERN, None), mix_points(RIGHT, HAS_PATTERN, clusters), strict=True
    ):
        assert alone.accuracy == together.accuracy
        assert together.high - together.low > alone.high - alone.low
