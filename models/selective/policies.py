"""The policies of a prediction: turn a request and a calibration table into a threshold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models.selective.certify import (
    best_certifiable_risk,
    certified_step,
    samples_at_least,
    samples_needed,
)
from models.selective.table import DEFAULT_CONFIDENCE, CalibrationTable, OperatingPoint, operating_point
from models.statistics import upper_bound

ONE_PER_SUBJECT = "; one image per subject, drawn at random"
"""Belongs to the method of a selection whose calibration split has subjects."""

Policy = Literal["coverage", "max_risk", "by_class", "min_score", "none"]
Status = Literal[
    "certified", "partly_certified", "target_coverage", "raw_threshold", "not_certifiable", "none"
]


@dataclass(frozen=True)
class Planning:
    """What could be certified instead.

    `best_certifiable_risk`: the smallest risk that this split certifies at this confidence (None: none
    below 1). `samples_at_least`: calibration samples without which the request is impossible, even
    with no error among them. `samples_needed`: an estimate for an even chance with this model, if its
    errors stay as frequent (None: it errs too often for any number).
    """

    best_certifiable_risk: float | None
    samples_at_least: int | None
    samples_needed: int | None


@dataclass(frozen=True)
class ClassPromise:
    """A statement about class A: `risk`, that of the answers "A" at most the share `requested` is wrong, or
    `missed`, that of the true A at most this share is answered as another class.

    `n`: the calibration samples that are predicted as A for `risk`, that are A for `missed`. At `threshold`,
    `n_answered` of them are answered (None for `missed`), `n_errors` wrongly. `threshold`, a log-probability,
    is that of the answers "A" for `risk`, for `missed` the least that it demands of the answers of all other
    classes; None where it is not certified. `needed`: how many more samples would likely do for `risk`, if
    errors stay as frequent, and would do for `missed`; None where no number would.
    """

    label: str
    statement: Literal["risk", "missed"]
    requested: float
    threshold: float | None
    n: int
    n_answered: int | None
    n_errors: int
    needed: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as in the API: the threshold is a probability, 0 where it demands nothing."""
        return dataclasses.asdict(self) | {
            "status": "too_few" if self.threshold is None else "certified",
            "threshold": None if self.threshold is None else math.exp(min(self.threshold, 0.0)),
        }


@dataclass(frozen=True)
class Selection:
    """A policy applied to a calibration table.

    `point.threshold` is None if nothing may be answered, and −inf if everything with a finite score
    is. `planning` is set if the request is not certifiable. By class, `point.threshold` is None, and
    `class_thresholds` has those of the answers of each class, in the order of the classes: None answers
    nothing, −inf every finite score.
    """

    policy: Policy
    requested: float | None
    status: Status
    method: str
    point: OperatingPoint
    planning: Planning | None = None
    promises: tuple[ClassPromise, ...] = ()
    class_thresholds: Mapping[str, float | None] | None = None

    @property
    def threshold(self) -> float | None:
        return self.point.threshold

    @property
    def risk_upper(self) -> float:
        """The bound on the selective risk that holds for the threshold, at the point's confidence: after a
        certified search for it only the certified risk, and no bound computed later."""
        certified = self.requested if self.status == "certified" else None
        return self.point.risk_upper if certified is None else certified

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values. A threshold of −inf becomes null; `status` distinguishes it from None."""
        record = dataclasses.asdict(self)
        if record["point"]["threshold"] == -math.inf:
            record["point"]["threshold"] = None
        del record["class_thresholds"]  # the promises have them
        return record | {"promises": [promise.to_json() for promise in self.promises]}


def certify(table: CalibrationTable, *, max_risk: float, confidence: float = DEFAULT_CONFIDENCE) -> Selection:
    """The lowest threshold whose selective risk is at most `max_risk`, with probability `confidence`.

    The probability is over the draw of the calibration split. The certificate holds on average over
    inputs like those of the split: for no single input, no group, and no shifted data.
    """
    require(0 < max_risk < 1, "max_risk must be above 0 and below 1")
    require(0.5 <= confidence < 1, "the confidence must be in 0.5 … 1")
    step = certified_step(table, max_risk, confidence)
    threshold = None if step is None else float(table.thresholds[step])
    planning = None
    if threshold is None:
        planning = Planning(
            best_certifiable_risk(table, confidence),
            samples_at_least(max_risk, confidence),
            samples_needed(table, max_risk, confidence),
        )
    return Selection(
        policy="max_risk",
        requested=max_risk,
        status="not_certifiable" if step is None else "certified",
        method="learn-then-test, two fixed sequences, exact binomial",
        point=operating_point(table, threshold, confidence=confidence),
        planning=planning,
    )


def threshold_for_coverage(table: CalibrationTable, coverage: float) -> Selection:
    """The highest threshold that answers at least this share of the calibration split.

    Chosen by rank, with no promise about risk. `point.coverage_interval` is for the coverage of further
    inputs. Coverage 1 answers every finite score.
    """
    require(0 < coverage <= 1, "coverage must be above 0 and at most 1")
    least = math.ceil(coverage * table.n - 1e-9)
    step = int(np.searchsorted(table.answered, least))
    everything = coverage == 1 or step == len(table.answered)
    threshold = -math.inf if everything else float(table.thresholds[step])
    return Selection(
        policy="coverage",
        requested=coverage,
        status="target_coverage",
        method="rank, Clopper-Pearson interval",
        point=operating_point(table, threshold),
    )


def threshold_for_score(table: CalibrationTable, min_score: float) -> Selection:
    """The caller's own threshold, on the scale of the score, with its counts on the calibration split."""
    require(math.isfinite(min_score), "min_score must be a finite number")
    return Selection(
        policy="min_score",
        requested=min_score,
        status="raw_threshold",
        method="given threshold, Clopper-Pearson bound",
        point=operating_point(table, min_score),
    )


def answer_all(table: CalibrationTable) -> Selection:
    """No policy: every input with a finite score is answered."""
    return Selection(
        policy="none",
        requested=None,
        status="none",
        method="none",
        point=operating_point(table, -math.inf),
    )


def require(fits: bool, message: str) -> None:
    if not fits:
        raise ValueError(message)


GroupVerdict = Literal["bound_below", "bound_above", "too_few"]


@dataclass(frozen=True)
class GroupSelection:
    """A threshold's result in one group (or class).
    `point.risk_upper` is for this group alone.

    `bound_below`: its bound is at most the requested risk; this is not a certificate, which no group has.
    `bound_above`: its bound is above. `too_few`: so few are answered that it would be above even without
    an error. None: no risk was requested. `needed`: how many more samples of the group would bring the bound
    down to the risk, at this coverage and without a further error; None if it is there, or if none would.
    """

    name: str
    verdict: GroupVerdict | None
    point: OperatingPoint
    needed: int | None = None


def by_group(
    tables: Mapping[str, CalibrationTable],
    threshold: float | None,
    *,
    max_risk: float | None = None,
    confidence: float = DEFAULT_CONFIDENCE,
) -> list[GroupSelection]:
    """A threshold's result in each group, compared with `max_risk` if given.

    A certificate holds on average over all inputs, never for a group, so each group has its own bound
    at `confidence`. The bounds hold one by one, not all at once.
    """
    selections = []
    for name, table in tables.items():
        point = operating_point(table, threshold, confidence=confidence)
        verdict = None if max_risk is None else _verdict(point, max_risk)
        needed = None if max_risk is None or verdict == "bound_below" else _needed(point, max_risk)
        selections.append(GroupSelection(name, verdict, point, needed))
    return selections


def coverage_ratio(groups: Sequence[GroupSelection]) -> float | None:
    """The smallest coverage of a group over the largest, 1 if equal. None without two groups or an answer."""
    coverages = [group.point.coverage for group in groups]
    if len(coverages) < 2 or max(coverages) == 0:
        return None
    return min(coverages) / max(coverages)


def _needed(point: OperatingPoint, max_risk: float) -> int | None:
    answered = samples_at_least(max_risk, point.confidence, errors=point.errors)
    if answered is None or not point.answered:
        return None
    return math.ceil((answered - point.answered) / point.coverage)


def _verdict(point: OperatingPoint, max_risk: float) -> GroupVerdict:
    if point.risk_upper <= max_risk:
        return "bound_below"
    at_best = float(upper_bound(0, point.answered, confidence=point.confidence))
    return "bound_above" if at_best <= max_risk else "too_few"
