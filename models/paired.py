"""Two models on the same samples: the difference of a statistic, with its interval. numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.statistics import Floats, Interval, wilson

Bools = NDArray[np.bool_]
Labels = NDArray[np.int64]

Statistic = Literal[
    "accuracy",
    "balanced_accuracy",
    "worst_class_accuracy",
    "worst_group_accuracy",
    "train_weighted_accuracy",
]


class Difference(NamedTuple):
    """Statistic of a − statistic of b on the same `n` samples. `low`, `high` at `confidence`.

    `a_only` and `b_only` count the samples that just one of the two got right. `strata` are compared, the
    smallest of them of `smallest` samples; `left_out` were too small. For a worst case `worst_a` and
    `worst_b` are the keys of the strata where a and where b is lowest, else None.
    """

    statistic: Statistic
    estimate: float
    low: float
    high: float
    confidence: float
    n: int
    a_only: int
    b_only: int
    resamples: int
    strata: int
    smallest: int
    left_out: int
    worst_a: int | None
    worst_b: int | None


PAIRS_OF_MEAN = 1.0
"""Added to each discordant count before resampling, shared among the strata of a mean."""
PAIRS_OF_STRATUM = 0.5
"""The same in every stratum of a worst case, where each may stand for itself."""
_PART = 1_000_000  # counts drawn at a time
_SCREENING = 0.2
"""Of the error of each end: that the true lowest group is not among those that may be it."""


def paired_difference(
    correct_a: Bools,
    correct_b: Bools,
    *,
    generator: np.random.Generator,
    strata: Labels | None = None,
    weights: Floats | None = None,
    statistic: Statistic = "accuracy",
    confidence: float = 0.95,
    resamples: int = 10_000,
    smoothed: bool = True,
) -> Difference:
    """Interval of a paired bootstrap on the same (N,) samples, stratified.

    `strata` (N,) are the groups or classes of a worst case, the classes for `balanced_accuracy`, the
    groups for `train_weighted_accuracy`, whose `weights` (S,) are those of the strata in rising order,
    and not needed for `accuracy`. `estimate` is plain.

    Drawing a stratum's samples anew is drawing its four counts (right or wrong, by a and by b) from a
    multinomial: that is what is done, m − 1 of them where the stratum has m (Rao and Wu, JASA 1988), else
    many small strata would seem less uncertain than they are. First pairs are added to the two discordant
    counts (after Agresti and Min, Statistics in Medicine 2005), unless it is not to be `smoothed`: with few
    discordant pairs the plain bootstrap finds an effect too often.

    A mean has the percentile interval, a worst case that of `_worst_interval`. benchmarks/verdict.py
    simulates how often they err.
    """
    if statistic != "accuracy" and strata is None:
        raise ValueError(f"{statistic} needs strata")
    if statistic == "train_weighted_accuracy" and weights is None:
        raise ValueError("train_weighted_accuracy needs weights")
    if strata is None or statistic == "accuracy":
        strata = np.zeros(len(correct_a), np.int64)
    table = paired_table(correct_a, correct_b, strata)
    a, b = _accuracies(table.astype(np.float64))
    tail = (1 - confidence) / 2
    drawing = _Drawing(generator, resamples, smoothed)
    worst_a = worst_b = None
    if statistic in _WORST:
        keys = np.unique(strata)
        worst_a, worst_b = int(keys[a.argmin()]), int(keys[b.argmin()])
        estimate = float(a.min() - b.min())
        interval = _worst_interval(table, drawing, tail=tail)
    else:
        if statistic != "train_weighted_accuracy" or weights is None:
            weights = np.ones(len(table))
        estimate = float((a - b) @ (weights / weights.sum()))
        interval = _mean_interval(table, weights, drawing, tail=tail)
    return Difference(
        statistic=statistic,
        estimate=estimate,
        low=min(interval.low, estimate),
        high=max(interval.high, estimate),
        confidence=confidence,
        n=len(correct_a),
        a_only=int(table[:, 1].sum()),
        b_only=int(table[:, 2].sum()),
        resamples=resamples,
        strata=len(table),
        smallest=int(table.sum(1).min()),
        left_out=0,
        worst_a=worst_a,
        worst_b=worst_b,
    )


_WORST: frozenset[Statistic] = frozenset({"worst_class_accuracy", "worst_group_accuracy"})


def paired_table(correct_a: Bools, correct_b: Bools, strata: Labels) -> NDArray[np.int64]:
    """Counts (S, 4) of each stratum that occurs: both right, a alone, b alone, none."""
    if len(correct_a) == 0 or not len(correct_a) == len(correct_b) == len(strata):
        raise ValueError("a paired comparison needs the same samples, at least one, for both")
    _, stratum = np.unique(strata, return_inverse=True)
    cell = 2 * ~np.asarray(correct_a, bool) + ~np.asarray(correct_b, bool)
    size = int(stratum.max()) + 1
    return np.bincount(4 * stratum + cell, minlength=4 * size).reshape(size, 4)


class _Drawing(NamedTuple):
    generator: np.random.Generator
    resamples: int
    smoothed: bool

    def tables(self, table: NDArray[np.int64], *, pairs: float) -> Iterator[Floats]:
        """`resamples` drawn tables (R, S, 4), in parts; `pairs` are added to each discordant count before."""
        pairs = pairs if self.smoothed else 0.0
        weights = table + np.array([0.0, pairs, pairs, 0.0])
        shares = weights / weights.sum(1, keepdims=True)
        sizes = np.maximum(1, table.sum(1) - 1)
        part = max(1, _PART // table.size)
        for start in range(0, self.resamples, part):
            size = (min(part, self.resamples - start), len(table))
            yield self.generator.multinomial(sizes, shares, size=size).astype(np.float64)


def _mean_interval(table: NDArray[np.int64], weights: Floats, drawing: _Drawing, *, tail: float) -> Interval:
    """Of the mean over the strata by `weights` (S,): percentiles.

    A stratum of one sample cannot be drawn anew. Those of equal weight are drawn as one stratum.
    """
    single = table.sum(1) == 1
    if single.sum() > 1 and len(np.unique(weights[single])) == 1:
        table = np.concatenate([table[~single], table[single].sum(0, keepdims=True)])
        weights = np.append(weights[~single], weights[single].sum())
    shares = weights / weights.sum()
    drawn = [
        (a - b) @ shares for a, b in map(_accuracies, drawing.tables(table, pairs=PAIRS_OF_MEAN / len(table)))
    ]
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(float(low), float(high))


def _worst_interval(table: NDArray[np.int64], drawing: _Drawing, *, tail: float) -> Interval:
    """Of min a − min b over the strata. It errs at most as often as it says, whatever the accuracies are.

    The difference of the two minima, drawn anew, is no such interval: a minimum over several strata that
    are alike is too low in the sample, and lower still in a resample, so that a model which is bad in one
    group would be called better than one which is just as bad in many.

    It lies above L if in some stratum g all of a's are more than L above b's. For each g that is a
    percentile of min a − b_g (too low, if anything: on the safe side); the greatest of them is the lower
    end. Which g is the right one was found by looking, so each that may be b's lowest takes its share of
    the error (Bonferroni). Those that may be are the strata whose interval reaches down to the least upper
    end of all, in Wilson intervals that hold together; they cost a fifth of the error (as in Berger and
    Boos, JASA 1994). The upper end is the mirror image.
    """
    total = table.sum(1)
    screened = _SCREENING * tail
    ours, theirs = (
        _may_be_lowest(table[:, 0] + table[:, column], total, error=screened) for column in (1, 2)
    )
    below, above = [], []
    for a, b in map(_accuracies, drawing.tables(table, pairs=PAIRS_OF_STRATUM)):
        below.append(a.min(1)[:, None] - b[:, theirs])
        above.append(a[:, ours] - b.min(1)[:, None])
    low = np.quantile(np.concatenate(below), (tail - screened) / len(theirs), axis=0).max()
    high = np.quantile(np.concatenate(above), 1 - (tail - screened) / len(ours), axis=0).min()
    return Interval(float(low), float(high))


def _may_be_lowest(right: NDArray[np.int64], total: NDArray[np.int64], *, error: float) -> Labels:
    """The strata, by their counts (S,), that are not surely above another one; at least one."""
    confidence = 1 - error / len(total)
    ends = np.array([wilson(k, n, confidence=confidence) for k, n in zip(right, total, strict=True)])
    return np.flatnonzero(ends[:, 0] <= ends[:, 1].min())


def _accuracies(tables: Floats) -> tuple[Floats, Floats]:
    """Accuracy per stratum of a and of b, (…, S) each, of counts (…, S, 4)."""
    total = tables.sum(-1)
    return (tables[..., 0] + tables[..., 1]) / total, (tables[..., 0] + tables[..., 2]) / total
