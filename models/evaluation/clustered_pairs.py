"""Accuracies of two models drawn as clusters of samples vary: for intervals that no single number widens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from models.statistics import design_effect, few_clusters
from models.types import Bools, Floats, Labels

_PART = 1_000_000  # accuracies drawn at a time


class ClusteredPairs:
    """Outcomes of two models on the same (N,) samples in S strata; `clusters` (N,) may lie across strata."""

    def __init__(self, correct_a: Bools, correct_b: Bools, strata: Labels, clusters: Labels) -> None:
        self._outcomes = np.stack([correct_a, correct_b], 1).astype(np.float64)  # (N, 2)
        self._stratum = np.unique(strata, return_inverse=True)[1]
        self._cluster = np.unique(clusters, return_inverse=True)[1]
        self._sizes = np.bincount(self._stratum)  # (S,)

    def design_effects(self) -> Floats:
        """That of each model's accuracy in each stratum, (S, 2)."""
        order = np.argsort(self._stratum, kind="stable")
        parts = np.split(order, np.cumsum(self._sizes)[:-1])
        return np.array(
            [[design_effect(of, self._cluster[rows]) for of in self._outcomes[rows].T] for rows in parts]
        )

    def draw(
        self, generator: np.random.Generator, resamples: int, *, pairs: float
    ) -> Iterator[tuple[Floats, Floats]]:
        """Draw accuracies of a and of b, (R, S) each, in parts of `resamples`.

        They are normal with the covariance between clusters (Liang and Zeger, Biometrika 1986), which a
        bootstrap of whole clusters approaches, at a cost that does not grow with their number. Deviations
        are widened by `few_clusters` in each stratum. `pairs` is the pseudo-count of each discordant count,
        in samples; each is worth the root of Kish's design effect of them.
        """
        from scipy.sparse import coo_matrix, hstack

        strata, of = len(self._sizes), self._stratum
        size = int(self._cluster.max()) + 1, strata

        def by_cluster(of_samples: Floats) -> Any:  # (C, S), sums
            return coo_matrix((of_samples, (self._cluster, of)), shape=size).tocsr()

        counts = by_cluster(np.ones(len(of)))
        clusters = counts.getnnz(0)
        kish = counts.power(2).sum(0).A1 / self._sizes
        means = np.stack([np.bincount(of, each) for each in self._outcomes.T]) / self._sizes  # (2, S)
        scale = np.sqrt(clusters / np.maximum(clusters - 1, 1)) / self._sizes
        residuals = hstack(
            [
                by_cluster((each - mean[of]) * scale[of])
                for each, mean in zip(self._outcomes.T, means, strict=True)
            ]
        )
        covariance = (residuals.T @ residuals).toarray().reshape(2, strata, 2, strata)
        # A single cluster does not show how clusters vary: it may have been all right or all wrong.
        worth = np.where(clusters > 1, kish, kish**2)
        smoothing = pairs * worth / (2 * self._sizes**2)
        each = np.arange(strata)
        for one, other, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 0, -1)):
            covariance[one, each, other, each] += sign * smoothing
        spread, axes = np.linalg.eigh(covariance.reshape(2 * strata, 2 * strata))
        root = (axes * np.sqrt(np.maximum(spread, 0.0))).T
        widened = np.tile(np.sqrt(few_clusters(clusters - 1)), 2)
        part = max(1, _PART // (2 * strata))
        for start in range(0, resamples, part):
            normal = generator.standard_normal((min(part, resamples - start), 2 * strata))
            drawn = np.clip(means.ravel() + normal @ root * widened, 0, 1)
            yield drawn[:, :strata], drawn[:, strata:]
