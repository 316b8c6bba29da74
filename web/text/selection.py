"""The reject option on a page: the curve point that the slider selects, and what it means in labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from masktune import CurvePoint, GroupTable, RiskCoverage
from masktune.contract.report.text import formats, uncertified_table
from masktune.contract.report.text.certificates import NO_PROMISE, certified

CURVE_POINTS = 400


@dataclass(frozen=True)
class ScoredSample:
    """A sample with the model's answer. `score` is None if the network's output is not finite."""

    sample: int
    label: str | None
    answer: str
    score: float | None
    needs_png: bool = False


def point_at(points: Sequence[CurvePoint], coverage: float) -> CurvePoint | None:
    """The point with the lowest coverage that is at least `coverage`; the last point if there is none."""
    return next((p for p in points if p.coverage >= coverage - 1e-9), points[-1] if points else None)


def point_of(points: Sequence[CurvePoint], threshold: float | None) -> CurvePoint | None:
    """The point with the lowest threshold that is at least `threshold`."""
    if threshold is None:
        return None
    above = [p for p in points if p.threshold >= threshold - 1e-12]
    return above[-1] if above else points[0] if points else None


def statement(table: GroupTable, point: CurvePoint | None, curve: RiskCoverage) -> str:
    """What the chosen threshold guarantees, and what it does not."""
    if table.policy == "max_risk" and table.status == "certified":
        return f"{certified(table.requested, table.risk_confidence, curve.n_subjects)} {NO_PROMISE}"
    if table.policy == "max_risk":
        refusal = uncertified_table(curve)
        return f"Not certifiable: {refusal}. Under this policy the model abstains on every input."
    if point is None:
        return "No input would be answered."
    return (
        f"On the calibration split, {point.n_answered} of {curve.n} samples are answered, {point.n_errors} "
        f"of them wrongly. Chosen after looking, the risk is at most {formats.percent(point.band_high)} with "
        f"{formats.percent(curve.confidence, 0)} confidence: the upper edge of the band."
    )


def abstentions(samples: Sequence[ScoredSample], threshold: float | None) -> list[bool]:
    """For each sample, whether the model would abstain; without a threshold it always does."""
    return [threshold is None or s.score is None or s.score < threshold for s in samples]
