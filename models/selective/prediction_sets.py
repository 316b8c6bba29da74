"""Prediction sets with coverage by class: label-conditional split conformal prediction.

Vovk, Conditional Validity of Inductive Conformal Predictors (2012); Sadinle, Lei and Wasserman, Least
Ambiguous Set-Valued Classifiers (2019). With 1 − p(y) as the score of non-conformity, a class belongs to a
set if its probability is at least the ⌈(n + 1) · coverage⌉-th largest that the n calibration samples of the
class have for it. A new input of the class is exchangeable with them, so its set holds the class with a
probability of at least `coverage`, over the draw of both, whatever the mix of the classes. Given the
calibration, the share of the class's inputs that the sets hold is Beta(k, n + 1 − k) or above, k that rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from models.statistics import clopper_pearson
from models.types import Floats

_ROUNDING = 1e-9  # 30 · 0.9 is 27 samples, not 28
_CALIBRATIONS = 0.95  # of which the coverage of a class is at least as named


class ClassCoverage(NamedTuple):
    """The share of a class's inputs that the sets of 19 in 20 calibrations on `n` samples hold at least."""

    label: str
    n: int
    coverage: float


@dataclass(frozen=True)
class PredictionSets:
    """For each class, in order, the log-probability at or above which it belongs to a set; −inf: it belongs
    to every set, since it has too few calibration samples. `lowest`: of the others, the class whose coverage
    varies most by the calibration; None without others."""

    coverage: float
    thresholds: Mapping[str, float]
    lowest: ClassCoverage | None

    @classmethod
    def build(
        cls, log_probabilities: Mapping[str, Sequence[float]], counts: Mapping[str, int], coverage: float
    ) -> Self:
        """`log_probabilities`, in the order of the classes, are those of the true class of its calibration
        samples, the finite ones, descending; `counts` are all of its samples, 0 if absent."""
        if not 0 < coverage < 1:
            raise ValueError("the coverage of sets must be above 0 and below 1")
        sizes = np.array([counts.get(label, 0) for label in log_probabilities], np.int64)
        ranks = np.ceil((sizes + 1) * coverage - _ROUNDING).astype(np.int64)
        thresholds = {
            label: own[rank - 1] if rank <= len(own) else -math.inf
            for (label, own), rank in zip(log_probabilities.items(), ranks.tolist(), strict=True)
        }
        # The lower end is the quantile of Beta(k, n + 1 − k).
        lows, _ = clopper_pearson(np.minimum(ranks, sizes), sizes, confidence=2 * _CALIBRATIONS - 1)
        covered = map(ClassCoverage, thresholds, sizes.tolist(), lows.tolist())
        certain = (one for one in covered if thresholds[one.label] > -math.inf)
        return cls(coverage, thresholds, min(certain, key=lambda one: one.coverage, default=None))

    def labels(self, log_probabilities: Floats) -> list[list[str]]:
        """The set of each input, of (N, K), most likely first.

        None is empty: the likeliest class is in it whatever its threshold, which only adds coverage (the
        completion of null sets in Sadinle et al.). An output that is not finite (NaN) has no likeliest class:
        its set holds those that every set holds.
        """
        logs = np.nan_to_num(log_probabilities, nan=-np.inf, neginf=-np.inf)
        inside = logs >= np.array([*self.thresholds.values()])
        inside |= (logs == logs.max(1, keepdims=True)) & np.isfinite(logs)
        names, order = [*self.thresholds], np.argsort(-logs, axis=1, kind="stable")
        return [
            [names[k] for k in ranked if members[k]] for ranked, members in zip(order, inside, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """What the sets rest on, as in the API."""
        return {
            "coverage": self.coverage,
            "samples_at_least": math.ceil(1 / (1 - self.coverage) - _ROUNDING) - 1,
            "lowest": None if self.lowest is None else self.lowest._asdict(),
            "always": [label for label, least in self.thresholds.items() if least == -math.inf],
        }
