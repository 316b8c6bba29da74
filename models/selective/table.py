"""The calibration split as counts at thresholds, by every score, group and class; and the result of one
threshold on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.selective.scores import SCORES, Scored, log_softmax, score
from models.statistics import Interval, clopper_pearson, upper_bound
from models.types import Bools, Counts, Floats

DEFAULT_CONFIDENCE = 0.99
_COVERAGE_CONFIDENCE = 0.95  # two-sided


@dataclass(frozen=True, eq=False)
class CalibrationTable:
    """A calibration split as a step function: how many samples are answered and wrong at each threshold.

    `thresholds` are strictly descending (equal scores are one step); `answered` and `wrong` count the
    samples at or above each; `n` counts all samples, including those with a non-finite score.
    """

    thresholds: Floats
    answered: Counts
    wrong: Counts
    n: int

    @classmethod
    def build(cls, scores: ArrayLike, correct: ArrayLike) -> Self:
        """Build from (N,) scores and whether each answer is right. Raises ValueError without a sample."""
        values, right = np.asarray(scores, np.float64), np.asarray(correct, bool)
        if values.shape != right.shape or values.ndim != 1 or len(values) == 0:
            raise ValueError("there must be one score and one verdict a sample, and at least one sample")
        finite = np.isfinite(values)
        order = np.argsort(-values[finite], kind="stable")
        ranked, errors = values[finite][order], ~right[finite][order]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)])
        return cls(ranked[last], (last + 1).astype(np.int64), np.cumsum(errors)[last], len(values))

    @property
    def id(self) -> str:
        """Derived from the content: the same counts at the same thresholds have the same id."""
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode())
        return f"cal_{digest.hexdigest()[:16]}"

    def to_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "thresholds": self.thresholds.tolist(),
            "answered": self.answered.tolist(),
            "wrong": self.wrong.tolist(),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """The inverse of `to_json`, bit for bit. Raises ValueError if `record` is not a table."""
        try:
            table = cls(
                np.array(record["thresholds"], np.float64),
                np.array(record["answered"], np.int64),
                np.array(record["wrong"], np.int64),
                int(record["n"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a calibration table: {error}") from error
        table._check()
        return table

    def _check(self) -> None:
        t, k, e = self.thresholds, self.answered, self.wrong
        new, errors = np.diff(k, prepend=0), np.diff(e, prepend=0)
        sound = (
            t.ndim == 1
            and t.shape == k.shape == e.shape
            and np.isfinite(t).all()
            and (np.diff(t) < 0).all()
            and (new > 0).all()
            and ((errors >= 0) & (errors <= new)).all()
            and (k[-1:] <= self.n).all()
            and self.n > 0
        )
        if not sound:
            raise ValueError("not a calibration table: its counts do not add up")

    def at(self, threshold: float) -> tuple[int, int]:
        """(answered, wrong) at any threshold."""
        step = int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1
        return (int(self.answered[step]), int(self.wrong[step])) if step >= 0 else (0, 0)

    def from_threshold(self, threshold: float) -> Self:
        """The table without the steps below `threshold`; their samples still count in `n`."""
        steps = self.thresholds >= threshold
        return replace(
            self, thresholds=self.thresholds[steps], answered=self.answered[steps], wrong=self.wrong[steps]
        )


@dataclass(frozen=True)
class OperatingPoint:
    """The result of a threshold on the calibration split.

    `coverage_interval` is Clopper-Pearson's at 95 %, for the coverage among inputs like these; its
    lower end is the exact law of a rank. `risk` is None if nothing is answered. `risk_upper` is the
    Clopper-Pearson upper bound at `confidence`; it holds for a threshold that was not chosen by looking
    at this split.
    """

    threshold: float | None
    n: int
    answered: int
    errors: int
    coverage: float
    coverage_interval: Interval
    risk: float | None
    risk_upper: float
    confidence: float


def operating_point(
    table: CalibrationTable, threshold: float | None, *, confidence: float = DEFAULT_CONFIDENCE
) -> OperatingPoint:
    """The counts of `table` at `threshold`, with their bounds."""
    counts = (0, 0) if threshold is None else table.at(threshold)
    return point_of_counts(table.n, *counts, threshold=threshold, confidence=confidence)


def point_of_counts(
    n: int, answered: int, errors: int, *, threshold: float | None, confidence: float
) -> OperatingPoint:
    """The bounds of `errors` in `answered` of `n` samples."""
    low, high = clopper_pearson(answered, n, confidence=_COVERAGE_CONFIDENCE)
    return OperatingPoint(
        threshold=threshold,
        n=n,
        answered=answered,
        errors=errors,
        coverage=answered / n,
        coverage_interval=Interval(float(low), float(high)),
        risk=errors / answered if answered else None,
        risk_upper=float(upper_bound(errors, answered, confidence=confidence)),
        confidence=confidence,
    )


class SplitTables(NamedTuple):
    """Tables by score; the same if samples unlike the training images were answered too; by score and the
    name of the group, of the true and of the predicted class; and for each class, in order, its
    log-probabilities in its own samples, the finite ones, descending."""

    scores: dict[str, CalibrationTable]
    unlike_answered: dict[str, CalibrationTable]
    groups: dict[str, Mapping[str, CalibrationTable]]
    classes: dict[str, Mapping[str, CalibrationTable]]
    predicted: dict[str, Mapping[str, CalibrationTable]]
    true_log_probabilities: dict[str, list[float]]


def count_split(
    logits: ArrayLike,
    erm_logits: ArrayLike | None,
    labels: Counts,
    *,
    classes: Sequence[str],
    groups: Counts,
    group_names: Sequence[str],
    temperature: float,
    unlike: Bools | None = None,
) -> SplitTables:
    """Count N samples: `logits`, `erm_logits` (N, K), true `labels` (N,), `groups` (N,), −1 for none.

    Those that are `unlike` (N,) the training images are answered at no threshold. Covers every score that the
    logits allow: without ERM's, only `max_softmax`. The `temperature` must not be fitted to these samples:
    their scores would then depend on each other.
    """
    logs = log_softmax(logits, temperature)[np.arange(len(labels)), labels]
    of_class = {
        name: np.sort(logs[(labels == k) & np.isfinite(logs)])[::-1] for k, name in enumerate(classes)
    }
    tables = SplitTables({}, {}, {}, {}, {}, {name: own.tolist() for name, own in of_class.items()})
    for name in SCORES if erm_logits is not None else SCORES[:1]:
        scored = score(name, logits, erm_logits, temperature=temperature)
        right = scored.labels == labels
        tables.unlike_answered[name] = CalibrationTable.build(scored.scores, right)
        if unlike is not None:
            scored = scored._replace(scores=np.where(unlike, -np.inf, scored.scores))
        tables.scores[name] = CalibrationTable.build(scored.scores, right)
        tables.groups[name] = _parts(groups, group_names, scored, right)
        tables.classes[name] = _parts(labels, classes, scored, right)
        tables.predicted[name] = _parts(scored.labels, classes, scored, right)
    return tables


def _parts(
    of_sample: Counts, names: Sequence[str], scored: Scored, right: NDArray[np.bool_]
) -> dict[str, CalibrationTable]:
    """Tables per group or class: a certificate says nothing about either, so each has its own counts."""
    tables = {}
    for part in np.unique(of_sample[of_sample >= 0]).tolist():
        inside = of_sample == part
        tables[names[part]] = CalibrationTable.build(scored.scores[inside], right[inside])
    return tables
