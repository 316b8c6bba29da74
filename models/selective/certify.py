"""Certify a selective risk: Learn-then-Test with fixed sequences and the exact binomial test.

Angelopoulos et al., Learn then Test (2021). A threshold passes at a level if at its k answered samples,
with the target as the true risk, as few errors would be that rare: P(Bin(k, target) ≤ errors) ≤ level.
Thresholds are tested in descending order, from a start that does not depend on the data, until the first
that fails. The first threshold whose true risk exceeds the target passes with probability ≤ level, and no
later one can be reached unless it does. Two starts share δ = 1 − confidence, since one alone would give up
either small targets (late start) or much coverage (early start, where a single error stops the walk).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from models.selective.table import CalibrationTable
from models.types import Floats

_EARLY_SHARE = 0.25  # of δ, for the early start
_EARLY_ERRORS = 2  # that the early start allows
_LARGEST_SPLIT = 10_000_000  # samples; the search for a sufficient number ends here


class Walk(NamedTuple):
    """Tests at `level`, beginning with the first threshold that answers at least `start` samples."""

    start: int
    level: float


def walks(n: int, risk: float, confidence: float) -> list[Walk]:
    """The starts: A, the fewest answered at which 2 errors pass at δ/4, and B at 3δ/4.

    B is the larger of n/2 and the fewest answered that pass without an error. If A > n/3, B is used
    alone, with all of δ. Both depend only on n and the request. Empty if no start is within n.
    """
    delta = 1 - confidence
    early = _rank(n, risk, _EARLY_SHARE * delta, errors=_EARLY_ERRORS)
    two = early is not None and early <= n / 3
    level = (1 - _EARLY_SHARE) * delta if two else delta
    starts = [Walk(early, _EARLY_SHARE * delta)] if two and early is not None else []
    late = _rank(n, risk, level, errors=0)
    return starts if late is None else [*starts, Walk(max(math.ceil(n / 2), late), level)]


def _rank(n: int, risk: float, level: float, *, errors: int) -> int | None:
    """The fewest answered, at most n, at which `errors` pass; None if there is no such number."""
    return fewest if (fewest := _fewest(risk, level, errors)) <= n else None


@lru_cache(maxsize=1024)  # planning asks for hundreds of n
def _fewest(risk: float, level: float, errors: int) -> int:
    """The fewest answered at which `errors` pass; one more than the largest split if there is none."""
    from scipy.special import bdtr

    return bisect_left(
        range(_LARGEST_SPLIT + 1), True, key=lambda k: bool(k > errors and bdtr(errors, k, risk) <= level)
    )


def certified_step(table: CalibrationTable, risk: float, confidence: float) -> int | None:
    """The index of the lowest certified threshold of `table`; None if there is none."""
    steps = [_last_passing(table, walk, risk) for walk in walks(table.n, risk, confidence)]
    return max((step for step in steps if step is not None), default=None)


def _last_passing(table: CalibrationTable, walk: Walk, risk: float) -> int | None:
    from scipy.special import bdtr  # not scipy.stats: half a second to import

    first = int(np.searchsorted(table.answered, walk.start))
    answered, wrong = table.answered[first:], table.wrong[first:]
    # Only with a further error can a step fail after one that passes: among more, as few are rarer.
    rises = np.flatnonzero(np.diff(wrong, prepend=-1))
    fails = rises[bdtr(wrong[rises], answered[rises], risk) > walk.level]
    length = int(fails[0]) if len(fails) else len(wrong)
    return first + length - 1 if length else None


def certifies_any(table: CalibrationTable, risk: float, confidence: float) -> bool:
    """Whether `certified_step` finds a threshold.

    A walk that passes its first step has found one, so only first steps are tested; otherwise planning
    would take longer than a forward pass over the split.
    """
    from scipy.special import bdtr

    for walk in walks(table.n, risk, confidence):
        first = int(np.searchsorted(table.answered, walk.start))
        if first < len(table.answered):
            errors, answered = table.wrong[first], table.answered[first]
            if bdtr(errors, answered, risk) <= walk.level:
                return True
    return False


def best_certifiable_risk(table: CalibrationTable, confidence: float) -> float | None:
    """The smallest risk that `table` certifies at `confidence`, to 1 %; None if it certifies none below 1.

    For planning only: a certificate for a risk that was chosen by looking at this figure does not hold.
    """
    grid = np.geomspace(1e-5, 0.999, 120)
    certified = [certifies_any(table, float(risk), confidence) for risk in grid]
    if not any(certified):
        return None
    first = int(np.argmax(certified))
    high = float(grid[first])
    low = float(grid[first - 1]) if first else 0.0
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        if certifies_any(table, middle, confidence):
            high = middle
        else:
            low = middle
    return high


def samples_at_least(risk: float, confidence: float, *, errors: int = 0) -> int | None:
    """Answered samples that certify `risk` with this many errors: 228 for 2 % at 99 % without one.
    None above 10 million."""
    return _rank(_LARGEST_SPLIT, risk, 1 - confidence, errors=errors)


def samples_needed(
    table: CalibrationTable, risk: float, confidence: float, *, more_than: int = 0
) -> int | None:
    """Estimate, to 5 %, how many calibration samples, `more_than` a number, would certify `risk` half of the
    time.

    Takes the risk of this table at each coverage as the true one. None if even 10 million would not
    be enough, because the model errs too often at every start.
    """
    if (table.wrong >= risk * table.answered).all():
        return None
    curve = np.stack([np.append(0.0, table.answered), np.append(0.0, table.wrong)])
    n = max(samples_at_least(risk, confidence) or _LARGEST_SPLIT + 1, more_than + 1)
    while n <= _LARGEST_SPLIT:
        starts = walks(n, risk, confidence)
        if any(_expected_to_pass(curve, walk, risk, n=n, of=table.n) for walk in starts):
            return n
        n = math.ceil(n * 1.05)
    return None


def _expected_to_pass(curve: Floats, walk: Walk, risk: float, *, n: int, of: int) -> bool:
    """Whether a start would pass on n samples whose errors are as frequent at each coverage as in a split
    `of` so many, whose `curve` (2, steps) has those answered and wrong, from 0."""
    from scipy.special import bdtr

    answered = walk.start / n * of
    if answered > curve[0, -1]:
        return False
    median = math.floor(np.interp(answered, *curve) * n / of + 1 / 3)  # of a Poisson number of errors
    return bool(bdtr(median, walk.start, risk) <= walk.level)
