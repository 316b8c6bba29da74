"""One member of each cluster, drawn at random."""

from __future__ import annotations

import numpy as np

from models.data.clusters import one_of_each


def test_each_image_of_a_subject_is_as_likely_to_count() -> None:
    clusters, rng = np.array([7, 3, 3, 3, 7]), np.random.default_rng(0)
    draws = np.stack([one_of_each(clusters, rng) for _ in range(600)])
    assert (draws[:, clusters == 3].sum(1) == 1).all()
    assert (draws[:, clusters == 7].sum(1) == 1).all()
    assert np.abs(draws.mean(0) - [1 / 2, 1 / 3, 1 / 3, 1 / 3, 1 / 2]).max() < 0.08
