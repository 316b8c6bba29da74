"""The curves of a report and of a model's reject option, as charts that each page draws alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from masktune.contract.report.charts import Chart, Dot, Line
from masktune.contract.report.inferred import MixPoint
from masktune.contract.report.probabilities import Reliability, RiskCurve
from masktune.contract.report.text.formats import calibration_samples, percent, whole_percent
from masktune.contract.report.text.names import ARM_NAMES, in_order
from masktune.contract.serving.reject_option import CurvePoint, RiskCoverage
from masktune.contract.vocabulary import CONTROLS, Arm


def risk_chart(curves: Mapping[Arm, RiskCurve]) -> Chart:
    """Selective risk over coverage: a line with pointwise bounds for each arm."""
    lines = {
        arm: [(p.coverage, p.risk, p.low, p.high) for p in curves[arm].points] for arm in in_order(curves)
    }
    # Ignores bounds at low coverage: they reach 100 % and would flatten the lines.
    settled = [high for points in lines.values() for x, _, _, high in points if x >= 0.3]
    risks = [risk for points in lines.values() for _, risk, *_ in points]
    summary = "; ".join(
        f"{ARM_NAMES[arm]} is wrong on {percent(points[-1][1])} when it answers {percent(points[-1][0])} "
        f"of the inputs"
        for arm, points in lines.items()
        if points
    )
    return Chart(
        f"Risk over coverage: {summary}",
        "coverage: inputs answered",
        "risk: wrong answers",
        [_line(arm, points) for arm, points in lines.items()],
        percent_x=True,
        percent_y=True,
        y_top=min(1.0, 1.08 * max([0.005, *settled, *risks])),
    )


def mix_chart(curves: Mapping[Arm, Sequence[MixPoint]]) -> Chart:
    """Accuracy over the share of images that lack the pattern of their class."""
    lines = {arm: [(p.share, p.accuracy, p.low, p.high) for p in curves[arm]] for arm in in_order(curves)}
    ends = "; ".join(
        f"{ARM_NAMES[arm]} from {percent(points[0][1])} to {percent(points[-1][1])}"
        for arm, points in lines.items()
        if points
    )
    return Chart(
        f"Accuracy as more images lack the pattern: {ends}",
        "images that lack the pattern",
        "accuracy",
        [_line(arm, points) for arm, points in lines.items()],
        percent_x=True,
        percent_y=True,
        y_top=1.0,
    )


def _line(arm: Arm, points: Sequence[tuple[float, float, float, float]]) -> Line:
    """A line through (x, y, low, high). A control has no band, because three would hide each other."""
    band = [] if arm in CONTROLS else [(x, low, high) for x, _, low, high in points]
    return Line(ARM_NAMES[arm], [(x, y) for x, y, *_ in points], band, tone=arm)


def reliability_chart(arm: Arm, measured: Reliability) -> Chart:
    """Accuracy over confidence, with each bin's interval; larger dots hold more samples."""
    total = max(1, sum(b.n for b in measured.bins))
    dots = [
        Dot(
            b.confidence,
            b.accuracy,
            1.7 + 6 * (b.n / total) ** 0.5,
            None if b.accuracy_low is None or b.accuracy_high is None else (b.accuracy_low, b.accuracy_high),
        )
        for b in measured.bins
    ]
    return Chart(
        f"Reliability of {ARM_NAMES[arm]}: off by {100 * measured.ece:.1f} points on average",
        "confidence",
        "accuracy",
        [Line("", [(0, 0), (1, 1)], tone="diagonal"), Line(ARM_NAMES[arm], dots=dots, tone=arm)],
        percent_x=True,
        percent_y=True,
        width=264,
        height=270,
    )


def reject_chart(curve: RiskCoverage, point: CurvePoint | None) -> Chart:
    """Selective risk over coverage of one model, with the band that holds for all points simultaneously, and
    the estimate for another mix if the curve has one."""
    band = [(p.coverage, p.band_low, p.band_high) for p in curve.points]
    name = f"selective risk, with the {whole_percent(curve.confidence)} bounds of all points at once"
    lines = [Line(name, [(p.coverage, p.risk) for p in curve.points], band)]
    if curve.mix is not None:
        name = f"estimate if {whole_percent(curve.mix.minority_share)} of each class lacked its pattern"
        lines.append(Line(name, [(p.coverage, p.risk) for p in curve.mix.points if p.risk is not None]))
    # The band is wide where few inputs are answered; showing all of it would flatten the curve.
    settled = [high for x, _, high in band if x > 0.3]
    risks = [risk or 0.0 for line in lines for _, risk in line.points]
    position = ""
    if point is not None:
        position = f"; here {percent(point.coverage)} answered, {percent(point.risk)} wrong"
    return Chart(
        f"Selective risk over coverage on {calibration_samples(curve.n, curve.n_subjects)}{position}",
        "coverage: share of inputs answered",
        "risk: share of answers that are wrong",
        lines,
        mark=None if point is None else (point.coverage, point.risk),
        percent_x=True,
        percent_y=True,
        y_top=max([*risks, *settled, 0.01]),
    )
