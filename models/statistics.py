"""Intervals and tests on counts. Every rate is a count over a count; numpy only, but for exact bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Both ends in 0..1 for a share; a difference may be negative."""

    low: float
    high: float


class Share(NamedTuple):
    """`k` of `n`."""

    k: int
    n: int


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a share (1927), (0, 1) without trials.

    For reports: close to its nominal coverage on average, at every sample size, where the exact
    interval is wider than asked.
    """
    if trials == 0:
        return Interval(0.0, 1.0)
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    share = successes / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    # At 0 and at all successes one end is the share itself, but for rounding.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(low, high)


def least_share(shares: Sequence[tuple[int, int]], *, confidence: float = 0.95) -> Interval:
    """Interval for the lowest of several independent shares, each (successes, trials) > 0.

    The lowest was picked by looking, so that its own interval sits too low. The lower end is the
    least of the Wilson ends: where it lies above the true lowest share, that share's own end does.
    The upper end is the least too, but any of the S shares may have been the lowest by chance, so
    each gets 1/S of the error (Bonferroni).
    """
    upper = 1 - (1 - confidence) / len(shares)
    low = min(wilson(k, n, confidence=confidence).low for k, n in shares)
    return Interval(low, min(wilson(k, n, confidence=upper).high for k, n in shares))


def mean_share(
    shares: Sequence[tuple[int, int]], weights: Sequence[float] | None = None, *, confidence: float = 0.95
) -> Interval:
    """Interval for the (weighted) mean of independent shares, each (successes, trials) > 0.

    From Wilson's intervals, added in quadrature (MOVER; Zou and Donner, Statistics in Medicine 2008).
    """
    parts = np.ones(len(shares)) if weights is None else np.asarray(weights, np.float64)
    parts = parts / parts.sum()
    each = np.array([k / n for k, n in shares])
    ends = np.array([wilson(k, n, confidence=confidence) for k, n in shares])
    down, up = np.sqrt(((parts[:, None] * (each[:, None] - ends)) ** 2).sum(0))
    mean = float(parts @ each)
    return Interval(max(0.0, float(mean - down)), min(1.0, float(mean + up)))


def student(values: Floats, *, confidence: float = 0.95) -> Interval:
    """Student's interval for the mean of (N,) values; without width for a single one."""
    from scipy.special import stdtrit

    n, mean = len(values), float(values.mean())
    if n < 2:
        return Interval(mean, mean)
    half = float(stdtrit(n - 1, (1 + confidence) / 2) * values.std(ddof=1) / n**0.5)
    return Interval(mean - half, mean + half)


def clopper_pearson(successes: ArrayLike, trials: ArrayLike, *, confidence: float) -> tuple[Floats, Floats]:
    """The exact two-sided interval, elementwise; (0, 1) without trials. For promises: never too narrow."""
    tail = (1 - confidence) / 2
    trials = np.asarray(trials, np.float64)
    failures = trials - np.asarray(successes, np.float64)
    low = 1 - upper_bound(failures, trials, confidence=1 - tail)
    return low, upper_bound(successes, trials, confidence=1 - tail)


def upper_bound(successes: ArrayLike, trials: ArrayLike, *, confidence: ArrayLike) -> Floats:
    """Clopper and Pearson's one-sided upper bound for a share, elementwise; 1 without trials.

    The largest share p at which P(Binomial(trials, p) ≤ successes) is still 1 − confidence.
    """
    from scipy.special import betaincinv

    k, n = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    inner = k < n
    bound = betaincinv(k + 1, np.where(inner, n - k, 1.0), np.asarray(confidence, np.float64))
    return np.where(inner, bound, 1.0)


Statistic = Literal[
    "accuracy",
    "balanced_accuracy",
    "worst_class_accuracy",
    "worst_group_accuracy",
    "train_weighted_accuracy",
]


class Difference(NamedTuple):
    """Statistic of a − statistic of b on the same samples. `low`, `high` at `confidence`.

    `a_only` and `b_only` count the samples that just one of the two got right.
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


_PART = 1_000_000  # counts drawn at a time
PRIOR = 0.5  # pairs added to each discordant cell of a stratum before resampling


def paired_difference(
    correct_a: NDArray[np.bool_],
    correct_b: NDArray[np.bool_],
    *,
    generator: np.random.Generator,
    strata: NDArray[np.int64] | None = None,
    weights: Floats | None = None,
    statistic: Statistic = "accuracy",
    confidence: float = 0.95,
    resamples: int = 10_000,
    prior: float = PRIOR,
) -> Difference:
    """Percentile interval of a paired bootstrap on the same (N,) samples, stratified.

    `strata` (N,) are the groups or classes of a worst case (the worst is found anew in each resample,
    for each of the two), the classes for `balanced_accuracy`, the groups for
    `train_weighted_accuracy`, whose `weights` (S,) are those of the strata in rising order, and not
    needed for `accuracy`. Drawing a stratum's samples anew is drawing its four counts (right or
    wrong, by a and by b) from a multinomial: that is what is done. Half a pair is added to each of
    the two discordant counts first (after Agresti and Min, Statistics in Medicine 2005): with few
    discordant pairs the plain bootstrap finds an effect too often, see benchmarks/verdict.py.
    `estimate` is plain.
    """
    if statistic != "accuracy" and strata is None:
        raise ValueError(f"{statistic} needs strata")
    if statistic == "train_weighted_accuracy" and weights is None:
        raise ValueError("train_weighted_accuracy needs weights")
    if strata is None or statistic == "accuracy":
        strata = np.zeros(len(correct_a), np.int64)
    table = paired_table(correct_a, correct_b, strata)
    if statistic != "train_weighted_accuracy" or weights is None:
        weights = np.ones(len(table))
    difference = _DIFFERENCES[statistic]
    estimate = difference(table[None].astype(np.float64), weights)[0]
    drawn = [difference(part, weights) for part in _resampled(table, generator, resamples, prior=prior)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Difference(
        statistic=statistic,
        estimate=float(estimate),
        low=float(low),
        high=float(high),
        confidence=confidence,
        n=len(correct_a),
        a_only=int(table[:, 1].sum()),
        b_only=int(table[:, 2].sum()),
        resamples=resamples,
    )


def paired_table(
    correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], strata: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Counts (S, 4) of each stratum that occurs: both right, a alone, b alone, none."""
    if len(correct_a) == 0 or not len(correct_a) == len(correct_b) == len(strata):
        raise ValueError("a paired comparison needs the same samples, at least one, for both")
    _, stratum = np.unique(strata, return_inverse=True)
    cell = 2 * ~np.asarray(correct_a, bool) + ~np.asarray(correct_b, bool)
    size = int(stratum.max()) + 1
    return np.bincount(4 * stratum + cell, minlength=4 * size).reshape(size, 4)


def _resampled(
    table: NDArray[np.int64], generator: np.random.Generator, resamples: int, *, prior: float
) -> Iterator[Floats]:
    """`resamples` drawn tables (R, S, 4), each stratum at its own size, in parts."""
    weights = table + np.array([0.0, prior, prior, 0.0])
    shares = weights / weights.sum(1, keepdims=True)
    part = max(1, _PART // table.size)
    for start in range(0, resamples, part):
        size = (min(part, resamples - start), len(table))
        yield generator.multinomial(table.sum(1), shares, size=size).astype(np.float64)


def _accuracies(tables: Floats) -> tuple[Floats, Floats]:
    """Accuracy per stratum of a and of b: (R, S) each."""
    total = tables.sum(-1)
    return (tables[..., 0] + tables[..., 1]) / total, (tables[..., 0] + tables[..., 2]) / total


def _mean_difference(tables: Floats, weights: Floats) -> Floats:
    a, b = _accuracies(tables)
    return np.asarray((a - b) @ (weights / weights.sum()))


def _worst_difference(tables: Floats, weights: Floats) -> Floats:
    a, b = _accuracies(tables)
    return np.asarray(a.min(-1) - b.min(-1))


_DIFFERENCES: dict[Statistic, Callable[[Floats, Floats], Floats]] = {
    "accuracy": _mean_difference,
    "balanced_accuracy": _mean_difference,
    "worst_class_accuracy": _worst_difference,
    "worst_group_accuracy": _worst_difference,
    "train_weighted_accuracy": _mean_difference,
}


def compare(
    correct_a: NDArray[np.bool_],
    correct_b: NDArray[np.bool_],
    *,
    classes: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    train_group_weights: Mapping[int, float] | None = None,
    generator: Callable[[Statistic], np.random.Generator],
) -> tuple[Difference, ...]:
    """a − b in every statistic that (N,) samples allow; `generator` gives each its own random numbers.

    `groups` (N,) may hold −1, none: such samples are left out of what is about groups.
    """
    cases: list[tuple[Statistic, NDArray[np.int64]]] = [
        ("accuracy", classes),
        ("balanced_accuracy", classes),
        ("worst_class_accuracy", classes),
    ]
    groups = np.full(len(classes), -1) if groups is None else groups
    weights = np.array(
        [(train_group_weights or {}).get(g, 0.0) for g in np.unique(groups[groups >= 0]).tolist()]
    )
    if len(weights):
        cases.append(("worst_group_accuracy", groups))
    if weights.any():
        cases.append(("train_weighted_accuracy", groups))
    found = []
    for statistic, strata in cases:
        known = strata >= 0
        found.append(
            paired_difference(
                correct_a[known],
                correct_b[known],
                generator=generator(statistic),
                strata=strata[known],
                weights=weights,
                statistic=statistic,
            )
        )
    return tuple(found)


VerdictName = Literal["helped", "no_detectable_effect", "hurt"]


class Verdict(NamedTuple):
    """The answer, the difference that decided it, and the plain accuracy's beside it."""

    verdict: VerdictName
    deciding: Difference
    average: Difference


def verdict(differences: Sequence[Difference]) -> Verdict:
    """Did MaskTune help, by its `differences` to the control of equal budget on samples that trained neither?

    The rule: the 95 % interval of the difference in worst-group accuracy, where it is among them (groups
    are known), else in balanced accuracy. Above 0: helped. Below 0: hurt. Otherwise no detectable
    effect. Its error is simulated by benchmarks/verdict.py, docs/REPORT.md has the figures.
    It judges one statistic: a model that helped the worst group may have lost on average, which is
    why that difference is given too. ValueError where one that is needed is missing.
    """
    named = {difference.statistic: difference for difference in differences}
    deciding = named.get("worst_group_accuracy") or named.get("balanced_accuracy")
    if deciding is None or "accuracy" not in named:
        raise ValueError("a verdict needs the difference in accuracy and in worst-group or balanced accuracy")
    return Verdict(_name(deciding), deciding, named["accuracy"])


def _name(difference: Difference) -> VerdictName:
    if difference.low > 0:
        return "helped"
    return "hurt" if difference.high < 0 else "no_detectable_effect"


def fisher(first: Share, second: Share) -> float:
    """Fisher's exact test of two shares, two-sided as twice the smaller tail; 1 where one has no sample.

    It stays exact for a threshold that is a rank of `first`, ties included: that at most x of m new
    scores lie at or above the k-th of n means that the first k + x of all n + m hold at least k of
    the n, and if all come from one source that number is hypergeometric, which is Fisher's one tail.
    That x or more lie there bounds the count above the (k + 1)-th in the same way: the other tail.
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
    """P(`count` of the n among `drawn` out of n + m), each."""
    from scipy.special import gammaln

    def log_choose(
        total: int, of: np.ndarray[tuple[int], np.dtype[np.int64]]
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.asarray(math.lgamma(total + 1) - gammaln(of + 1) - gammaln(total - of + 1))

    logs = log_choose(n, count) + log_choose(m, drawn - count)
    mass = np.exp(logs - logs.max())  # the support is complete: its sum is the norm
    return np.asarray(mass / mass.sum())
