"""The figures of a report's page as SVG by matplotlib, in the page's own colours, light and dark.

A figure is drawn in placeholder colours that are then replaced by the page's CSS variables, and its text
stays text in the page's font. Everything that a browser would have to fetch or that could clash with the page
is removed: metadata with addresses, the style element, fonts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from masktune.contract.report.inferred import MixPoint
from masktune.contract.report.probabilities import Reliability, RiskCurve
from masktune.contract.report.text import percent
from masktune.contract.report.text.names import ARM_NAMES, in_order
from masktune.contract.vocabulary import CONTROLS, Arm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VARIABLES = {
    "erm": "#e10001",
    "control": "#e10002",
    "masktune": "#e10003",
    "imported": "#e10004",
    "ink": "#e10005",
    "soft": "#e10006",
    "line": "#e10007",
}
_COLOR = {
    **_VARIABLES,
    "masktune_control": _VARIABLES["control"],
    "retrained_control": _VARIABLES["control"],
    "retrained": _VARIABLES["masktune"],
    "baseline": _VARIABLES["imported"],
}
_drawing = Lock()  # matplotlib's settings and font cache are not thread-safe


def risk_coverage(curves: Mapping[Arm, RiskCurve], *, name: str) -> Markup:
    """Plot selective risk over coverage: a line with pointwise bounds for each (arm, curve).

    The control's bounds are left out, because three bands would hide each other.
    """
    figure = _figure(4.6, 3.1)
    axes = figure.add_subplot()
    for arm in in_order(curves):
        curve = curves[arm]
        _draw(axes, arm, [(p.coverage, p.risk, p.low, p.high) for p in curve.points])
    axes.set_xlim(0, 100)
    axes.set_ylim(0, _top(curves))
    _frame(axes, "coverage: inputs answered, %", "risk: wrong answers, %")
    summary = "; ".join(
        f"{ARM_NAMES[arm]} is wrong on {percent(curve.points[-1].risk)} when it answers "
        f"{percent(curve.points[-1].coverage)} of the inputs"
        for arm, curve in ((arm, curves[arm]) for arm in in_order(curves))
        if curve.points
    )
    return _svg(figure, name=name, label=f"Risk over coverage: {summary}")


def mix(curves: Mapping[Arm, Sequence[MixPoint]], *, name: str) -> Markup:
    """Plot accuracy over the share of images that lack the pattern of their class, with the bounds of all but
    the controls."""
    figure = _figure(4.6, 3.1)
    axes = figure.add_subplot()
    for arm in in_order(curves):
        _draw(axes, arm, [(p.share, p.accuracy, p.low, p.high) for p in curves[arm]])
    axes.set_xlim(0, 100)
    _frame(axes, "images that lack the pattern, %", "accuracy, %")
    ends = "; ".join(
        f"{ARM_NAMES[arm]} from {percent(curves[arm][0].accuracy)} to {percent(curves[arm][-1].accuracy)}"
        for arm in in_order(curves)
        if curves[arm]
    )
    return _svg(figure, name=name, label=f"Accuracy as more images lack the pattern: {ends}")


def _draw(axes: Axes, arm: Arm, points: Sequence[tuple[float, float, float, float]]) -> None:
    """A line through shares (x, y), in percent, with their bounds (low, high) for all but the controls."""
    x, y, low, high = ([100 * point[place] for point in points] for place in range(4))
    if arm not in CONTROLS:
        axes.fill_between(x, low, high, color=_COLOR[arm], alpha=0.13, linewidth=0)
    axes.plot(x, y, color=_COLOR[arm], linewidth=1.8, label=ARM_NAMES[arm])


def _top(curves: Mapping[Arm, RiskCurve]) -> float:
    """Return the axis limit. Ignores bounds at low coverage: they reach 100 % and would flatten the lines."""
    settled = [p.high for curve in curves.values() for p in curve.points if p.coverage >= 0.3]
    risks = [p.risk for curve in curves.values() for p in curve.points]
    return min(102.0, 108 * float(max([0.005, *settled, *risks])))


def reliability(arm: Arm, measured: Reliability, *, name: str) -> Markup:
    """Plot accuracy over confidence, with each bin's interval; larger dots hold more samples."""
    figure = _figure(2.7, 2.7)
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color=_COLOR["soft"], linewidth=0.8, linestyle=(0, (4, 3)))
    total = max(1, sum(b.n for b in measured.bins))
    for b in measured.bins:
        x, y = 100 * b.confidence, 100 * b.accuracy
        if b.accuracy_low is not None and b.accuracy_high is not None:
            axes.plot([x, x], [100 * b.accuracy_low, 100 * b.accuracy_high], color=_COLOR[arm], linewidth=1)
        axes.plot(
            [x],
            [y],
            marker="o",
            markersize=2.5 + 9 * (b.n / total) ** 0.5,
            color=_COLOR[arm],
            markeredgewidth=0,
            alpha=0.8,
        )
    axes.set_xlim(-4, 104)
    axes.set_ylim(-4, 104)
    axes.set_aspect("equal")
    _frame(axes, "confidence, %", "accuracy, %")
    return _svg(
        figure,
        name=name,
        label=f"Reliability of {ARM_NAMES[arm]}: off by {100 * measured.ece:.1f} points on average",
    )


def _figure(width: float, height: float) -> Figure:
    """Create a figure of this size in inches. Its margins are fixed: measuring text takes twice as long."""
    from matplotlib.figure import Figure  # half a second to import

    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=0.55 / width, right=1 - 0.12 / width, bottom=0.48 / height, top=1 - 0.1 / height
    )
    return figure


def _frame(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=_COLOR["soft"], size=9)
    axes.set_ylabel(y, color=_COLOR["soft"], size=9)
    axes.tick_params(colors=_COLOR["soft"], labelsize=8, length=0)
    axes.grid(color=_COLOR["line"], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_COLOR["line"])


def _svg(figure: Figure, *, name: str, label: str) -> Markup:
    """Render the figure as an SVG element; `name` makes its ids unique on the page."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.patch.set_visible(False)
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with _drawing, matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=metadata)
    # `_inline` escapes the label.
    return Markup(_inline(buffer.getvalue(), name, label))  # noqa: S704  # nosec B704


def _inline(svg: str, name: str, label: str) -> str:
    svg = svg[svg.index("<svg") :]
    for part in (r"<metadata>.*?</metadata>", r"<defs>\s*<style.*?</style>\s*</defs>", r"<!--.*?-->"):
        svg = re.sub(part, "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    for variable, color in _VARIABLES.items():
        svg = svg.replace(color, f"var(--{variable})")
    view = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg role="img" aria-label="{escape(label)}" {view[0] if view else ""}>'
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)
