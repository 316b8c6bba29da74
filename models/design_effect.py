"""How much less samples say that come in clusters: images of one patient are right or wrong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from models.types import Floats, Labels

PRIOR_OUTCOMES = 2.0
"""Outcomes, all alike within their clusters, that are added before the design effect is estimated: with
fewer, rare outcomes in clusters of unequal sizes seem to be independent."""
_Z = 1.959963984540054


def design_effect(
    outcomes: ArrayLike,
    clusters: Labels | None,
    *,
    strata: Labels | None = None,
    weights: Floats | None = None,
) -> float:
    """Factor, 1 or more, by which clusters enlarge the variance of the mean of (N,) outcomes.

    Counts divided by it can be treated as those of independent samples (Rao and Scott, Biometrics 1992).
    `clusters` (N,) is equal where two samples are not independent; None, or all different: exactly 1. With
    `strata` (N,), it is that of the mean over the strata, weighted by `weights` (S,), equally without.

    It is the ratio of the variance between clusters (of a ratio estimator: clusters may differ in size) to
    that of as many independent samples, times the square of Student's t over the normal quantile at 95 %, as
    few clusters do not show well how much they differ (Korn and Graubard, Survey Methodology 1998). The
    correction stops at Kish's design effect, that of clusters in which all outcomes are alike. Rare outcomes
    do not show it either: with none, it is Kish's (`PRIOR_OUTCOMES`).
    """
    if clusters is None:
        return 1.0
    _, cluster = np.unique(clusters, return_inverse=True)
    n, count = len(cluster), int(cluster.max()) + 1
    if count == n:
        return 1.0
    stratum = np.zeros(n, np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    sizes = np.bincount(stratum)
    parts = np.full(len(sizes), 1.0) if weights is None else weights
    share = (parts / parts.sum() / sizes)[stratum]  # (N,) each sample's weight in the mean
    values = np.asarray(outcomes, np.float64)
    residuals = share * (values - (np.bincount(stratum, values) / sizes)[stratum])
    # One mean is estimated in each stratum, of its clusters and of its samples; a single one shows nothing.
    within = np.bincount(np.unique(stratum * count + cluster) // count)
    several = within > 1
    of_clusters, of_samples = (
        np.where(several, units / np.maximum(units - 1, 1), 0.0)[stratum] for units in (within, sizes)
    )
    between = float((np.bincount(cluster, residuals * np.sqrt(of_clusters)) ** 2).sum())
    independent = float((residuals**2 * of_samples).sum())
    together = float((np.bincount(cluster, share) ** 2).sum())  # one over the effective number of clusters
    greatest = together / float((share**2).sum())
    prior = PRIOR_OUTCOMES * float((share**2).mean())
    estimate = (between + prior * greatest) / (independent + prior)
    widened = estimate * float(few_clusters(1 / together - 1))
    return max(1.0, estimate, min(widened, greatest))


def count_clusters(clusters: Labels | None) -> int | None:
    """How many there are; None where all samples are independent."""
    return None if clusters is None else len(np.unique(clusters))


def few_clusters(freedom: ArrayLike) -> Floats:
    """The square of Student's t over the normal quantile at 95 %, elementwise, with at least one degree of
    `freedom`."""
    from scipy.special import stdtrit

    return np.asarray((stdtrit(np.maximum(freedom, 1.0), 0.975) / _Z) ** 2)
