"""Intervals and tests for counts: every rate is a count over a count. Imports scipy only where it is used.

Samples that come in clusters say less: images of one patient are right or wrong together (`design_effect`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from models.types import Bools, Floats, Labels

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
    correction stops at Kish's design effect; without an outcome, it is that (`PRIOR_OUTCOMES`).
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


class Interval(NamedTuple):
    """Both ends are in 0..1 for a share; those of a difference may be negative."""

    low: float
    high: float


class Share(NamedTuple):
    """`k` of `n`."""

    k: int
    n: int


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def wilson(successes: float, trials: float, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval (1927) for a share (a binomial proportion); (0, 1) without trials.

    For reports: its average coverage is close to nominal at every sample size, whereas the exact interval
    is conservative.
    """
    if trials == 0:
        return Interval(0.0, 1.0)
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    share = successes / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    # With no or only successes, one end is exactly the share, which rounding would miss.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(low, high)


def clustered_wilson(outcomes: Bools, clusters: Labels | None, *, confidence: float = 0.95) -> Interval:
    """`wilson` for the share of (N,) outcomes that are true; where `clusters` (N,) are equal, they are not
    independent (None: all are)."""
    n = len(outcomes)
    effect = design_effect(outcomes, clusters) if n else 1.0
    return wilson(int(outcomes.sum()) / effect, n / effect, confidence=confidence)


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """`correct` of `n` as a share in 0..1, with its 95 % Wilson interval."""

    n: int
    correct: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class ModelAccuracy(Proportion):
    """Accuracy of one model on a slice or group. Where there are any, the `n_subjects` are independent."""

    model: str
    n_subjects: int | None = None

    @classmethod
    def of(cls, model: str, correct: Bools, clusters: Labels | None, *, confidence: float = 0.95) -> Self:
        """Of `correct` (n,) answers; equal `clusters` (n,) are not independent, None: all are."""
        n, right = len(correct), int(correct.sum())
        low, high = clustered_wilson(correct, clusters, confidence=confidence)
        return cls(
            model,
            count_clusters(clusters),
            n=n,
            correct=right,
            accuracy=right / max(n, 1),
            low=low,
            high=high,
        )


def least_share(shares: Sequence[tuple[float, float]], *, confidence: float = 0.95) -> Interval:
    """Interval for the lowest of several shares, each (successes, trials) with trials > 0.

    The lowest share is selected from the same data, so its own interval is biased downwards. The lower end
    is the lowest of the Wilson lower ends: if it lies above the true lowest share, so does that share's own
    end. The upper end is the lowest of `upper_ends`. For a single share, this is Wilson's interval.
    """
    if len(shares) == 1:
        return wilson(*shares[0], confidence=confidence)
    low = min(wilson(k, n, confidence=confidence).low for k, n in shares)
    return Interval(low, float(upper_ends(shares, confidence=confidence).min()))


def upper_ends(shares: Sequence[tuple[float, float]], *, confidence: float = 0.95) -> Floats:
    """Upper ends (S,) of simultaneous two-sided Clopper–Pearson intervals.

    Any of the S shares may be the lowest by chance, so each gets 1/S of the error (Bonferroni). Wilson's
    upper end is too low for this: for 0 of 1 it is below 0.95 for up to 3,825 shares, so it would miss a
    true share of 0.95 in 5 % of draws for each group of a single sample.
    """
    k, n = np.array(shares, np.float64).T
    return upper_bound(k, n, confidence=1 - (1 - confidence) / 2 / len(shares))


def mean_share(
    shares: Sequence[tuple[float, float]],
    weights: Sequence[float] | None = None,
    *,
    effect: float = 1.0,
    confidence: float = 0.95,
) -> Interval:
    """Interval for the (weighted) mean of independent shares, each (successes, trials) with trials > 0.

    This is Wilson's interval at the effective sample size: the trials that would give a single share the
    same variance (Kish's design effect). For the variance, each share gets one pseudo-trial at the pooled
    share, so that a small stratum whose outcomes all agree does not count as certain. For a single share,
    it is Wilson's own. Adding the shares' intervals in quadrature (MOVER) is simpler, but each is shrunk
    towards one half: for the mean of 20 shares of 5 samples, the upper end is too low in 12 %, not 2.5 %.
    `effect` is the design effect of the mean, where samples come in clusters.
    """
    parts = np.ones(len(shares)) if weights is None else np.asarray(weights, np.float64)
    parts = parts / parts.sum()
    k, n = np.array(shares, np.float64).T
    mean, pooled = min(1.0, float(parts @ (k / n))), float(k.sum() / n.sum())
    extra = 1.0 if len(shares) > 1 else 0.0
    each = (k + extra * pooled) / (n + extra)
    variance = float((parts**2 * each * (1 - each) / n).sum())
    certain = variance == 0 or not 0 < mean < 1
    trials = 1 / float((parts**2 / n).sum()) if certain else mean * (1 - mean) / variance
    trials /= effect
    return wilson(mean * trials, trials, confidence=confidence)


def student(values: Floats, *, clusters: Labels | None = None, confidence: float = 0.95) -> Interval:
    """Student's t interval for the mean of (N,) values; of zero width for a single value.

    `clusters` (N,) are equal where two values are not independent.
    """
    from scipy.special import stdtrit

    n, mean = len(values), float(values.mean())
    if n < 2:
        return Interval(mean, mean)
    spread = float(values.std(ddof=1))
    if clusters is not None and spread > 0:
        spread *= design_effect((values - mean) / spread, clusters) ** 0.5
    half = float(stdtrit(n - 1, (1 + confidence) / 2) * spread / n**0.5)
    return Interval(mean - half, mean + half)


def clopper_pearson(successes: ArrayLike, trials: ArrayLike, *, confidence: float) -> tuple[Floats, Floats]:
    """Exact two-sided interval, elementwise; (0, 1) without trials. For guarantees: never too narrow."""
    tail = (1 - confidence) / 2
    trials = np.asarray(trials, np.float64)
    failures = trials - np.asarray(successes, np.float64)
    low = 1 - upper_bound(failures, trials, confidence=1 - tail)
    return low, upper_bound(successes, trials, confidence=1 - tail)


def upper_bound(successes: ArrayLike, trials: ArrayLike, *, confidence: ArrayLike) -> Floats:
    """One-sided Clopper–Pearson upper bound for a share, elementwise; 1 without trials.

    It is the largest share p with P(Binomial(trials, p) ≤ successes) ≥ 1 − confidence.
    """
    from scipy.special import betaincinv

    k, n = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    inner = k < n
    bound = betaincinv(k + 1, np.where(inner, n - k, 1.0), np.asarray(confidence, np.float64))
    return np.where(inner, bound, 1.0)


def fisher(first: Share, second: Share) -> float:
    """p-value of Fisher's exact test of two shares, as twice the smaller tail; 1 if either has no samples.

    It stays exact for a threshold that is an order statistic of `first`, ties included. If at most x of m
    new scores lie at or above the k-th highest of n, the highest k + x of all n + m contain at least k of
    the n. Under the null hypothesis of one distribution, that number is hypergeometric, which is Fisher's
    one tail. That x or more lie there bounds the count above the (k + 1)-th in the same way: the other tail.
    """
    if first.n == 0 or second.n == 0:
        return 1.0
    drawn = first.k + second.k
    low, high = max(0, drawn - second.n), min(first.n, drawn)
    mass = _hypergeometric(first.n, second.n, drawn, np.arange(low, high + 1))
    place = first.k - low
    return min(1.0, 2 * float(min(mass[: place + 1].sum(), mass[place:].sum())))


def _hypergeometric(
    n: int, m: int, drawn: int, count: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """P(`count` of the n among `drawn` out of n + m), elementwise; `count` must be the whole support."""
    from scipy.special import gammaln

    def log_choose(
        total: int, of: np.ndarray[tuple[int], np.dtype[np.int64]]
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.asarray(math.lgamma(total + 1) - gammaln(of + 1) - gammaln(total - of + 1))

    logs = log_choose(n, count) + log_choose(m, drawn - count)
    mass = np.exp(logs - logs.max())  # normalised by the sum over the whole support
    return np.asarray(mass / mass.sum())
