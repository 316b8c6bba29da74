"""The risk–coverage curve as a PNG."""

from __future__ import annotations

import io
from threading import Lock
from typing import TYPE_CHECKING

from masktune.contract.reject_option import RiskCoverage
from masktune.contract.report.text.formats import calibration_samples, whole_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, ACCENT, GRID = "#1d2530", "#c2410c", "#d8dde4"
_drawing = Lock()  # matplotlib's font cache is not thread-safe


def draw(curve: RiskCoverage) -> bytes:
    """Draw the curve as a PNG of 8 × 5 inches at 144 dpi, on white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second to import
    from matplotlib.figure import Figure

    with _drawing:
        figure = Figure(figsize=(8, 5), dpi=144, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        _plot(figure.add_subplot(), curve)
        figure.suptitle("Selective risk over coverage", x=0.02, ha="left", color=INK, weight="bold", size=14)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _plot(axes: Axes, curve: RiskCoverage) -> None:
    coverage = [100 * point.coverage for point in curve.points]
    confidence = f"{100 * curve.confidence:g} %"
    axes.fill_between(
        coverage,
        [100 * point.band_low for point in curve.points],
        [100 * point.band_high for point in curve.points],
        color=ACCENT,
        alpha=0.10,
        linewidth=0,
        label=f"{confidence}, all points at once (a target chosen after looking)",
    )
    axes.fill_between(
        coverage,
        [100 * point.low for point in curve.points],
        [100 * point.high for point in curve.points],
        color=ACCENT,
        alpha=0.22,
        linewidth=0,
        label=f"{confidence}, one point chosen before looking",
    )
    axes.plot(coverage, [100 * point.risk for point in curve.points], color=ACCENT, linewidth=2, label="risk")
    if curve.mix is not None:
        answered = [point for point in curve.mix.points if point.risk is not None]
        axes.plot(
            [100 * point.coverage for point in answered],
            [100 * (point.risk or 0.0) for point in answered],
            color=INK,
            linestyle="--",
            label=f"estimate if {whole_percent(curve.mix.minority_share)} lacked the pattern of their class",
        )
    _frame(axes, curve)


def _frame(axes: Axes, curve: RiskCoverage) -> None:
    areas = (
        ""
        if curve.aurc is None
        else f"AURC {1000 * curve.aurc:.2f}‰ · AUGRC {1000 * (curve.augrc or 0):.2f}‰ · "
    )
    axes.set_title(
        f"{curve.model} · score {curve.score_name} · {areas}{calibration_samples(curve.n, curve.n_subjects)}",
        loc="left",
        size=8.5,
        color=INK,
    )
    # The bounds at the lowest coverages reach 100 % and would flatten the curve.
    settled = [p.high for p in curve.points if p.coverage >= 0.2] or [p.high for p in curve.points] or [1.0]
    axes.set_ylim(0, min(100.0, 100 * max(*settled, 0.005) * 1.15))
    axes.set_xlim(0, 100)
    axes.set_xlabel("coverage: share of inputs answered, %", color=INK)
    axes.set_ylabel("selective risk: share of answers that are wrong, %", color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="upper center", labelcolor=INK, fontsize=9, facecolor="white", edgecolor="none", framealpha=0.85
    )
