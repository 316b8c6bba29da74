"""Populations that define a risk at every coverage, from which calibration splits are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.selective import CalibrationTable

Floats = NDArray[np.float64]
_CELLS = 100_000  # of the numerical integral over coverage


@dataclass(frozen=True)
class Population:
    """`error(u)`: how often the input at rank u in 0..1 (0: the most confident) is answered wrongly."""

    name: str
    error: Callable[[Floats], Floats]
    levels: int | None = None  # scores are rounded down to this many
    risk: Floats = field(init=False)  # selective risk at coverage 1/_CELLS … 1

    def __post_init__(self) -> None:
        rank = (np.arange(_CELLS) + 0.5) / _CELLS
        object.__setattr__(self, "risk", np.cumsum(self.error(rank)) / np.arange(1, _CELLS + 1))

    def draw(self, n: int, rng: np.random.Generator) -> CalibrationTable:
        rank = rng.random(n)
        wrong = rng.random(n) < self.error(rank)
        return CalibrationTable.build(-self.rounded(rank), ~wrong)

    def rounded(self, rank: Floats) -> Floats:
        return rank if self.levels is None else np.ceil(rank * self.levels) / self.levels

    def true_risk(self, coverage: float) -> float:
        return float(self.risk[min(max(round(coverage * _CELLS), 1), _CELLS) - 1])

    def oracle(self, max_risk: float) -> float:
        fits = np.flatnonzero(self.risk <= max_risk)
        coverage = (fits[-1] + 1) / _CELLS if len(fits) else 0.0
        return coverage if self.levels is None else math.floor(coverage * self.levels + 1e-9) / self.levels


def power(exponent: float, *, oracle: float, risk: float, floor: float = 0.0) -> Callable[[Floats], Floats]:
    """Errors that rise from `floor` with a power of the rank; the risk at coverage `oracle` is `risk`."""
    factor = (risk - floor) * (exponent + 1) / oracle**exponent
    return lambda u: np.minimum(floor + factor * u**exponent, 1.0)


def flat(risk: float) -> Callable[[Floats], Floats]:
    return lambda u: np.full_like(u, risk)


def bump(u: Floats) -> Floats:
    """Confident errors: many at the top, few in the middle, many at the end."""
    return np.where(u < 0.1, 0.06, np.minimum(0.004 + 0.8 * u**9, 1.0))
