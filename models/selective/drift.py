"""Are the inputs still like those of the calibration split? Exact tests on counts, without labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.selective.policies import threshold_for_coverage
from models.selective.table import CalibrationTable

REFERENCES = (0.5, 0.8, 0.95)
"""Coverages whose thresholds are watched: whatever policy was asked for, each score lies above or below."""


class Share(NamedTuple):
    """`k` of `n`."""

    k: int
    n: int


class Reference(NamedTuple):
    """The threshold that answers `coverage` of the calibration split, and what it answers there."""

    coverage: float
    threshold: float
    answered: Share


def references(table: CalibrationTable) -> tuple[Reference, ...]:
    """One for each of `REFERENCES`, in that order."""
    found = []
    for coverage in REFERENCES:
        point = threshold_for_coverage(table, coverage).point
        assert point.threshold is not None
        found.append(Reference(coverage, point.threshold, Share(point.answered, table.n)))
    return tuple(found)


@dataclass(frozen=True)
class Comparison:
    """One share on the calibration split and in service. `p_adjusted`: Bonferroni over all comparisons."""

    name: str
    calibration: Share
    deployed: Share
    p_value: float
    p_adjusted: float
    decidable: bool
    """Whether some outcome of as many inputs would have been significant; if none, it says nothing."""


def compare(shares: Mapping[str, tuple[Share, Share]], *, alpha: float) -> list[Comparison]:
    """Each (calibration, deployed) pair by `fisher`, two-sided, adjusted for their number."""
    found = []
    for name, (calibration, deployed) in shares.items():
        p = fisher(calibration, deployed)
        extreme = min(fisher(calibration, Share(count, deployed.n)) for count in (0, deployed.n))
        found.append(
            Comparison(
                name=name,
                calibration=calibration,
                deployed=deployed,
                p_value=p,
                p_adjusted=min(1.0, p * len(shares)),
                decidable=extreme * len(shares) <= alpha,
            )
        )
    return found


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
