"""Compare two models on the same samples: the difference in a statistic, with its interval. numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.statistics import Interval, count_clusters, design_effect, few_clusters, student, wilson
from models.types import Bools, Floats, Labels

Statistic = Literal[
    "accuracy",
    "balanced_accuracy",
    "worst_class_accuracy",
    "worst_group_accuracy",
    "train_weighted_accuracy",
]


class Difference(NamedTuple):
    """Statistic of a − statistic of b on the same `n` samples; `low` and `high` hold at `confidence`.

    `accuracy_a` and `accuracy_b` are the statistic of each.
    `n_subjects` is the number of clusters, None without any. `a_only` and `b_only` count the discordant
    samples, which only a or only b got right. `strata` is the number of strata compared, `smallest` the size
    of the smallest, in clusters where there are any; `left_out` strata were too small. For a worst-case
    statistic, `worst_a` and `worst_b` are the keys of the strata where a and b are lowest; else they are
    None.
    """

    statistic: Statistic
    estimate: float
    low: float
    high: float
    confidence: float
    n: int
    n_subjects: int | None
    a_only: int
    b_only: int
    resamples: int
    strata: int
    smallest: int
    left_out: int
    worst_a: int | None
    worst_b: int | None
    accuracy_a: float
    accuracy_b: float


PAIRS_OF_MEAN = 1.0
"""Pseudo-count added to each discordant count before resampling, divided among the strata of a mean."""
PAIRS_OF_STRATUM = 0.5
"""The same per stratum of a worst-case statistic, which a single stratum may decide."""
_PART = 1_000_000  # counts or accuracies drawn at a time
_SCREENING = 0.2
"""Share of each tail's error that is spent on screening, which may drop the true lowest stratum."""


def paired_difference(
    correct_a: Bools,
    correct_b: Bools,
    *,
    generator: np.random.Generator,
    strata: Labels | None = None,
    weights: Floats | None = None,
    clusters: Labels | None = None,
    statistic: Statistic = "accuracy",
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Difference:
    """Estimate a difference with the interval of a stratified paired bootstrap on the same (N,) samples.

    `strata` (N,) are the groups or classes of a worst-case statistic, the classes for `balanced_accuracy`
    and the groups for `train_weighted_accuracy`; `accuracy` needs none. `weights` (S,) are needed for
    `train_weighted_accuracy` alone, one per stratum in ascending order. `clusters` (N,) are equal where two
    samples are not independent. `estimate` is not smoothed.

    Resampling a stratum's samples is the same as drawing its four counts (right or wrong, by a and by b)
    from a multinomial, which is what this does, with m − 1 draws for a stratum of m samples (Rao and Wu,
    JASA 1988): with m, many small strata would seem less uncertain than they are. Pseudo-counts are first
    added to the two discordant counts (after Agresti and Min, Statistics in Medicine 2005).

    A mean gets a percentile interval, a worst-case statistic that of `_worst_interval`. Samples in clusters
    count as fewer independent ones: for a mean, the counts are divided by their `design_effect`, for a worst
    case, accuracies are drawn as they vary between clusters (`ClusteredPairs`).
    """
    if statistic != "accuracy" and strata is None:
        raise ValueError(f"{statistic} needs strata")
    if statistic == "train_weighted_accuracy" and weights is None:
        raise ValueError("train_weighted_accuracy needs weights")
    if strata is None or statistic == "accuracy":
        strata = np.zeros(len(correct_a), np.int64)
    table = paired_table(correct_a, correct_b, strata).astype(np.float64)
    together = None if clusters is None or len(np.unique(clusters)) == len(clusters) else clusters
    a, b = _accuracies(table)
    tail = (1 - confidence) / 2
    drawing = _Drawing(generator, resamples)
    worst_a = worst_b = None
    if statistic in _WORST:
        keys = np.unique(strata)
        worst_a, worst_b = int(keys[a.argmin()]), int(keys[b.argmin()])
        of_a, of_b = float(a.min()), float(b.min())
        if together is None:
            drawn, effects = drawing.accuracies(table, pairs=PAIRS_OF_STRATUM), np.ones((len(table), 2))
        else:
            clustered = ClusteredPairs(correct_a, correct_b, strata, together)
            drawn = clustered.draw(generator, resamples, pairs=PAIRS_OF_STRATUM)
            effects = clustered.design_effects()
        interval = _worst_interval(table, drawn, effects, tail=tail)
    else:
        if statistic != "train_weighted_accuracy" or weights is None:
            weights = np.ones(len(table))
        of_a, of_b = (float(one @ (weights / weights.sum())) for one in (a, b))
        outcomes = correct_a.astype(np.float64) - correct_b
        effect = design_effect(outcomes, together, strata=strata, weights=weights)
        interval = _mean_interval(table / effect, weights, drawing, tail=tail)
    estimate = of_a - of_b
    return Difference(
        statistic=statistic,
        estimate=estimate,
        low=min(interval.low, estimate),
        high=max(interval.high, estimate),
        confidence=confidence,
        n=len(correct_a),
        n_subjects=count_clusters(clusters),
        a_only=int(table[:, 1].sum()),
        b_only=int(table[:, 2].sum()),
        resamples=resamples,
        strata=len(table),
        smallest=int(stratum_sizes(strata, clusters).min()),
        left_out=0,
        worst_a=worst_a,
        worst_b=worst_b,
        accuracy_a=of_a,
        accuracy_b=of_b,
    )


def mean_over_seeds(differences: Sequence[Difference]) -> Difference:
    """The mean of a difference over trainings with several seeds, each measured on the same samples.

    The interval is for training with any seed. Two errors add up in quadrature (MOVER; Zou and Donner,
    Statistics in Medicine 2008): that of the images, at most the mean of the seeds' bootstrap intervals,
    since all seeds err on the same images; and that of the seeds, by Student's t. Resampling so few seeds
    instead is wrong up to ten times as often as it says (benchmarks/verdict.py).

    `a_only` and `b_only` become those of all seeds, `worst_a` and `worst_b` None: they differ by seed.
    """
    first, estimates = differences[0], np.array([one.estimate for one in differences])
    mean, spread = float(estimates.mean()), student(estimates, confidence=first.confidence)
    low, high = (fmean(getattr(one, end) for one in differences) for end in ("low", "high"))
    return first._replace(
        estimate=mean,
        low=max(-1.0, mean - math.hypot(mean - low, mean - spread.low)),
        high=min(1.0, mean + math.hypot(high - mean, spread.high - mean)),
        a_only=sum(one.a_only for one in differences),
        b_only=sum(one.b_only for one in differences),
        worst_a=None,
        worst_b=None,
        accuracy_a=fmean(one.accuracy_a for one in differences),
        accuracy_b=fmean(one.accuracy_b for one in differences),
    )


_WORST: frozenset[Statistic] = frozenset({"worst_class_accuracy", "worst_group_accuracy"})


def paired_table(correct_a: Bools, correct_b: Bools, strata: Labels) -> NDArray[np.int64]:
    """Counts (S, 4) for each stratum that occurs: both right, only a, only b, neither."""
    if len(correct_a) == 0 or not len(correct_a) == len(correct_b) == len(strata):
        raise ValueError("a paired comparison needs the same samples, at least one, for both")
    _, stratum = np.unique(strata, return_inverse=True)
    cell = 2 * ~np.asarray(correct_a, bool) + ~np.asarray(correct_b, bool)
    size = int(stratum.max()) + 1
    return np.bincount(4 * stratum + cell, minlength=4 * size).reshape(size, 4)


def stratum_sizes(strata: Labels, clusters: Labels | None) -> Labels:
    """Samples (S,) in each stratum that occurs, ascending; with clusters, the number of these."""
    if clusters is not None:
        strata = np.unique(np.stack([strata, clusters]), axis=1)[0]
    return np.unique(strata, return_counts=True)[1]


class _Drawing(NamedTuple):
    generator: np.random.Generator
    resamples: int

    def accuracies(self, table: Floats, *, pairs: float) -> Iterator[tuple[Floats, Floats]]:
        """Resample the counts (S, 4), with `pairs` first added to each discordant one; return the accuracies
        of a and of b, (R, S) each, in parts of `resamples`."""
        weights = table + np.array([0.0, pairs, pairs, 0.0])
        shares = weights / weights.sum(1, keepdims=True)
        sizes = np.maximum(1, table.sum(1).astype(np.int64) - 1)
        part = max(1, _PART // table.size)
        for start in range(0, self.resamples, part):
            size = (min(part, self.resamples - start), len(table))
            yield _accuracies(self.generator.multinomial(sizes, shares, size=size).astype(np.float64))


def _mean_interval(table: Floats, weights: Floats, drawing: _Drawing, *, tail: float) -> Interval:
    """Percentile interval for the mean over the strata, weighted by `weights` (S,).

    A stratum of one sample cannot be resampled. Such strata are pooled into one if all have equal weight.
    """
    single = table.sum(1) < 2
    if single.sum() > 1 and len(np.unique(weights[single])) == 1:
        table = np.concatenate([table[~single], table[single].sum(0, keepdims=True)])
        weights = np.append(weights[~single], weights[single].sum())
    shares = weights / weights.sum()
    drawn = [(a - b) @ shares for a, b in drawing.accuracies(table, pairs=PAIRS_OF_MEAN / len(table))]
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(float(low), float(high))


def _worst_interval(
    table: Floats, drawn: Iterable[tuple[Floats, Floats]], effects: Floats, *, tail: float
) -> Interval:
    """Interval for min a − min b over the strata, with at most the nominal error whatever the accuracies are.

    From counts (S, 4), `drawn` accuracies of a and of b, and the design effect (S, 2) of each. The bootstrap
    of two minima has no such guarantee: a model that is bad in one group would seem better than one in many.

    The difference exceeds L if, for some stratum g, all accuracies of a exceed b_g by more than L. For each
    g, the lower bound is a percentile of min a − b_g, which is biased downwards if at all, and so
    conservative. The largest of these bounds is the lower end. Since g is selected from the same data, the
    error is divided among all strata that may be b's lowest (Bonferroni): those whose interval reaches down
    to the lowest upper end, among simultaneous Wilson intervals. This screening costs a fifth of the error
    (as in Berger and Boos, JASA 1994). The upper end is the mirror image.
    """
    total = table.sum(1)
    screened = _SCREENING * tail
    ours, theirs = (
        _may_be_lowest(
            (table[:, 0] + table[:, 1 + of]) / effects[:, of], total / effects[:, of], error=screened
        )
        for of in (0, 1)
    )
    below, above = [], []
    for a, b in drawn:
        below.append(a.min(1)[:, None] - b[:, theirs])
        above.append(a[:, ours] - b.min(1)[:, None])
    low = np.quantile(np.concatenate(below), (tail - screened) / len(theirs), axis=0).max()
    high = np.quantile(np.concatenate(above), 1 - (tail - screened) / len(ours), axis=0).min()
    return Interval(float(low), float(high))


def _may_be_lowest(right: Floats, total: Floats, *, error: float) -> Labels:
    """Indices of strata that, by their counts (S,), are not significantly above another; at least one."""
    confidence = 1 - error / len(total)
    ends = np.array([wilson(k, n, confidence=confidence) for k, n in zip(right, total, strict=True)])
    return np.flatnonzero(ends[:, 0] <= ends[:, 1].min())


def _accuracies(tables: Floats) -> tuple[Floats, Floats]:
    """Accuracies of a and of b per stratum, (…, S) each, from counts (…, S, 4)."""
    total = tables.sum(-1)
    return (tables[..., 0] + tables[..., 1]) / total, (tables[..., 0] + tables[..., 2]) / total


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
