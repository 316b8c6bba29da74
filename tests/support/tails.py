"""Tails of the binomial distribution, as of `scipy.stats.binom`, which takes half a second to import."""

from __future__ import annotations

from numpy.typing import ArrayLike
from scipy.special import bdtr, bdtrc


def at_most(successes: ArrayLike, trials: ArrayLike, share: ArrayLike) -> float:
    """The probability of so many successes or fewer; an array where one of the arguments is one."""
    return bdtr(successes, trials, share)  # type: ignore[no-any-return]  # scipy is untyped


def at_least(successes: int, trials: int, share: float) -> float:
    """The probability of so many successes or more."""
    return bdtrc(successes - 1, trials, share)  # type: ignore[no-any-return]  # the same
