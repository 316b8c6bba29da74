"""The reject option as a page shows it: which point of a curve a slider stands on, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from client import CurvePoint, GroupTable, RiskCoverage
from web import words
from web.charts import Band, Chart, Line

CURVE_POINTS = 400


@dataclass(frozen=True)
class Shown:
    """A sample of the strip. `score` is None where the network's output is not finite."""

    sample: int
    label: str
    said: str
    score: float | None


def point_at(points: Sequence[CurvePoint], coverage: float) -> CurvePoint | None:
    """The point with the least coverage of at least this; the last one where none has."""
    return next((p for p in points if p.coverage >= coverage - 1e-9), points[-1] if points else None)


def point_of(points: Sequence[CurvePoint], threshold: float | None) -> CurvePoint | None:
    """The point that a threshold stands on: that with the lowest threshold that is not below it."""
    if threshold is None:
        return None
    above = [p for p in points if p.threshold >= threshold - 1e-12]
    return above[-1] if above else points[0] if points else None


def curve_chart(found: RiskCoverage, at: CurvePoint | None) -> Chart:
    """Risk over coverage, with the band that holds for all points at once."""
    line = Line("selective risk", [(p.coverage, p.risk) for p in found.points])
    band = Band([(p.coverage, p.band_low, p.band_high) for p in found.points])
    # The band is wide where few are answered: there the curve would be flattened to nothing.
    top = max(
        [p.risk for p in found.points] + [p.band_high for p in found.points if p.coverage > 0.3] + [0.01]
    )
    spoken = (
        "" if at is None else f"; here {words.percent(at.coverage)} answered, {words.percent(at.risk)} wrong"
    )
    return Chart(
        f"Selective risk over coverage on {found.n} calibration samples{spoken}",
        "coverage: share of inputs that are answered",
        "risk: share of answers that are wrong",
        [line],
        band=band,
        mark=None if at is None else (at.coverage, at.risk),
        percent_x=True,
        percent_y=True,
        y_top=top,
    )


def statement(table: GroupTable, at: CurvePoint | None, found: RiskCoverage) -> str:
    """What the chosen threshold promises, and what it does not."""
    confidence = words.percent(table.risk_confidence, 0)
    if table.policy == "max_risk" and table.status == "certified":
        return (
            f"Certified: with {confidence} confidence over the draw of the calibration split, at most "
            f"{words.percent(table.requested)} of the answers are wrong, for inputs like those of the split. "
            "It holds for no single input, no group, and no shifted data; and only if the risk was chosen "
            "before looking at this curve."
        )
    if table.policy == "max_risk":
        return (
            f"Not certifiable: no threshold keeps a risk of {words.percent(table.requested)} at {confidence} "
            f"confidence with these {found.n} calibration samples. Asked so, the model abstains from all. "
            "Allow a larger risk or a lower confidence; more calibration samples certify smaller risks."
        )
    if at is None:
        return "Nothing would be answered."
    return (
        f"On the calibration split {at.n_answered} of {found.n} are answered and {at.n_errors} of them are "
        f"wrong. Chosen after looking, the risk is at most {words.percent(at.band_high)} with "
        f"{words.percent(found.confidence, 0)} confidence: the upper edge of the band."
    )


def refused(shown: Sequence[Shown], threshold: float | None) -> list[bool]:
    """Of each sample, whether it would not be answered. Without a threshold nothing is."""
    return [threshold is None or s.score is None or s.score < threshold for s in shown]
