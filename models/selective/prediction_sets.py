"""Prediction sets with coverage by class: label-conditional split conformal prediction.

Vovk, Conditional Validity of Inductive Conformal Predictors (2012); Sadinle, Lei and Wasserman, Least
Ambiguous Set-Valued Classifiers (2019). With 1 − p(y) as the score of non-conformity, a class belongs to a
set if its probability is at least the ⌈(n + 1) · coverage⌉-th largest that the n calibration samples of the
class have for it. A new input of the class is exchangeable with them, so its set holds the class with a
probability of at least `coverage`, over the draw of both, whatever the mix of the classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from models.types import Floats

_ROUNDING = 1e-9  # 30 · 0.9 is 27 samples, not 28


@dataclass(frozen=True)
class PredictionSets:
    """For each class, in order, the log-probability at or above which it belongs to a set; −inf: it belongs
    to every set, since it has too few calibration samples."""

    coverage: float
    thresholds: Mapping[str, float]

    @classmethod
    def build(
        cls, log_probabilities: Mapping[str, Sequence[float]], counts: Mapping[str, int], coverage: float
    ) -> Self:
        """`log_probabilities`, in the order of the classes, are those of the true class of its calibration
        samples, the finite ones, descending; `counts` are all of its samples, 0 if absent."""
        if not 0 < coverage < 1:
            raise ValueError("the coverage of sets must be above 0 and below 1")
        thresholds = {}
        for label, own in log_probabilities.items():
            rank = math.ceil((counts.get(label, 0) + 1) * coverage - _ROUNDING)
            thresholds[label] = own[rank - 1] if rank <= len(own) else -math.inf
        return cls(coverage, thresholds)

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
            "always": [label for label, least in self.thresholds.items() if least == -math.inf],
        }
