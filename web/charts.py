"""Line charts as SVG text: they follow the page's colours, need no script and carry a text description."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 28, 36
MOST_POINTS = 400
"""Most points drawn per line; more would not be visible."""


@dataclass(frozen=True)
class Line:
    """Points in ascending order of x. A y of None breaks the line."""

    name: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Chart:
    """A line chart. `mark`: an x to highlight, together with the first line's y at that point."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    band: Sequence[tuple[float, float, float]] = ()
    mark: tuple[float, float] | None = None
    parts: Sequence[float] = ()
    """x positions at which the meaning of x changes, drawn as thin vertical lines."""
    percent_x: bool = False
    whole_x: bool = False
    """x is a count, so ticks are whole numbers."""
    percent_y: bool = False
    y_top: float | None = None


def svg(chart: Chart) -> str:
    """Render the chart as an `<svg>` element; empty if there is nothing to draw."""
    xs = [x for line in chart.lines for x, y in line.points if y is not None]
    ys = [y for line in chart.lines for _, y in line.points if y is not None]
    ys += [high for *_, high in chart.band]
    if not xs:
        return ""
    scale = _Scale(min(xs), max(xs), chart.y_top or max(ys))
    body = [*_axes(chart, scale)]
    body += [
        f'<line class="part" x1="{scale.x(x)}" x2="{scale.x(x)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        for x in chart.parts
    ]
    if chart.band:
        body.append(f'<path class="band" d="{_band(chart.band, scale)}"/>')
    body += [f'<path class="line s{i}" d="{_path(line, scale)}"/>' for i, line in enumerate(chart.lines)]
    if chart.mark is not None:
        x, y = scale.x(chart.mark[0]), scale.y(chart.mark[1])
        body.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        body.append(f'<circle class="dot" cx="{x}" cy="{y}" r="6"/>')
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">'
        f"{''.join(body)}</svg>{_legend(chart)}"
    )


@dataclass(frozen=True)
class _Scale:
    x_low: float
    x_high: float
    y_high: float

    def x(self, coordinate: float) -> float:
        span = self.x_high - self.x_low
        share = (coordinate - self.x_low) / span if span else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, coordinate: float) -> float:
        share = min(1.0, coordinate / self.y_high) if self.y_high else 0.0
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def ticks(low: float, high: float, most: int = 5, *, whole: bool = False) -> list[float]:
    """About `most` round numbers between `low` and `high`; whole numbers if `whole`."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw)
    step = max(1.0, math.ceil(step)) if whole else step
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def thin(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Thin the points evenly to `MOST_POINTS`, keeping the first and the last."""
    if len(points) <= MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(i * step)] for i in range(MOST_POINTS)]


def _axes(chart: Chart, scale: _Scale) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    elements = []
    for y in ticks(0, scale.y_high):
        at = scale.y(y)
        elements.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{at}" y2="{at}"/>')
        elements.append(
            f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end">{_tick(y, chart.percent_y)}</text>'
        )
    for x in ticks(scale.x_low, scale.x_high, 6, whole=chart.whole_x):
        at = scale.x(x)
        anchor = "end" if at > right - 14 else "middle"
        elements.append(
            f'<text x="{at}" y="{bottom + 16}" text-anchor="{anchor}">{_tick(x, chart.percent_x)}</text>'
        )
    elements.append(
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 3}" text-anchor="middle">{escape(chart.x_label)}</text>'
    )
    elements.append(f'<text x="4" y="14">{escape(chart.y_label)}</text>')
    return elements


def _tick(number: float, percent: bool) -> str:
    return f"{100 * number:g} %" if percent else f"{number:g}"


def _path(line: Line, scale: _Scale) -> str:
    steps, pen_down = [], False
    points = thin(line.points)
    for x, y in points:
        if y is None or not math.isfinite(y):
            pen_down = False
            continue
        steps.append(f"{'L' if pen_down else 'M'}{scale.x(x)} {scale.y(y)}")
        pen_down = True
    if len(steps) == 1:  # a path with a single point would be invisible
        steps.append("h.1")
    return "".join(steps)


def _band(band: Sequence[tuple[float, float, float]], scale: _Scale) -> str:
    there = [f"{scale.x(x)} {scale.y(high)}" for x, _, high in band]
    back = [f"{scale.x(x)} {scale.y(low)}" for x, low, _ in reversed(band)]
    return f"M{'L'.join(there + back)}Z"


def _legend(chart: Chart) -> str:
    if len(chart.lines) < 2:
        return ""
    items = "".join(f'<li class="s{i}">{escape(line.name)}</li>' for i, line in enumerate(chart.lines))
    return f'<ul class="legend">{items}</ul>'
