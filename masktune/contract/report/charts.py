"""Charts as SVG text: they follow the page's colours, need no script and carry a text description.

The page colours what these classes name: `axis` and `part` are thin lines, a `curve` is as its `tone`, and a
`band` is filled with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 28, 36
TICK_WIDTH = 80
"""Least distance of two ticks of x, or their labels would touch."""
LINE_HEIGHT = 20
MOST_POINTS = 400
"""Most points drawn per line; more would not be visible."""

_ON_WHITE = (
    "<style>.masktune{font:12px sans-serif}.masktune text{fill:#1d2530}"
    ".masktune .axis{stroke:#d8dde4}.masktune .curve{fill:none;stroke:currentColor;stroke-width:2}"
    ".masktune .band{fill:currentColor;opacity:.14}"
    ".masktune .s0{color:#c2410c}.masktune .s1{color:#2563a8}.masktune .name{fill:currentColor}</style>"
)


@dataclass(frozen=True)
class Dot:
    """A measured point, with its interval of y if it has one. `radius` is in units of the drawing."""

    x: float
    y: float
    radius: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Line:
    """Points in ascending order of x. A y of None breaks the line. `band` has an interval of y at each x."""

    name: str
    points: Sequence[tuple[float, float | None]] = ()
    band: Sequence[tuple[float, float, float]] = ()
    dots: Sequence[Dot] = ()
    tone: str = ""
    """The class of its colour; by default by its place: `s0`, `s1` …"""


@dataclass(frozen=True)
class Chart:
    """A chart of lines. `mark`: an x to highlight, together with the first line's y at that point."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    mark: tuple[float, float] | None = None
    parts: Sequence[float] = ()
    """x positions at which the meaning of x changes, drawn as thin vertical lines."""
    percent_x: bool = False
    """x is a share: the axis goes from 0 to 1."""
    whole_x: bool = False
    """x is a count, so ticks are whole numbers."""
    percent_y: bool = False
    y_top: float | None = None
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def right(self) -> int:
        return self.width - RIGHT

    @property
    def bottom(self) -> int:
        return self.height - BOTTOM

    @property
    def tones(self) -> list[tuple[str, Line]]:
        return [(line.tone or f"s{place}", line) for place, line in enumerate(self.lines)]


def svg(chart: Chart) -> str:
    """Render the chart as an `<svg>` element; empty if there is nothing to draw."""
    xs = [x for line in chart.lines for x, y in line.points if y is not None]
    ys = [y for line in chart.lines for _, y in line.points if y is not None]
    ys += [high for line in chart.lines for *_, high in line.band]
    if not xs:
        return ""
    x_low, x_high = (0.0, 1.0) if chart.percent_x else (min(xs), max(xs))
    scale = _Scale(chart, x_low, x_high, chart.y_top or max(ys))
    body = [*_axes(chart, scale), *(_upright("part", scale.x(x), TOP, chart.bottom) for x in chart.parts)]
    body += [
        f'<path class="band {tone}" d="{_band(line.band, scale)}"/>'
        for tone, line in chart.tones
        if line.band
    ]
    for tone, line in chart.tones:
        body += [f'<path class="curve {tone}" d="{_path(line, scale)}"/>'] if line.points else []
        body += [_dot(dot, tone, scale) for dot in line.dots]
    if chart.mark is not None:
        x, y = scale.x(chart.mark[0]), scale.y(chart.mark[1])
        body += [_upright("mark", x, TOP, chart.bottom), f'<circle class="dot" cx="{x}" cy="{y}" r="6"/>']
    return (
        f'<svg class="chart" viewBox="0 0 {chart.width} {chart.height}" role="img" '
        f'aria-label="{escape(chart.title)}">{"".join(body)}</svg>'
    )


def legend(chart: Chart) -> str:
    """The names of the lines as an HTML list; empty for a single line."""
    items = "".join(f'<li class="{tone}">{escape(line.name)}</li>' for tone, line in chart.tones)
    return f'<ul class="legend">{items}</ul>' if len(chart.lines) > 1 else ""


def picture(chart: Chart) -> str:
    """Render the chart as a file of its own: on white, with its title and the names of its lines."""
    chart = replace(chart, width=640, height=360)
    height = chart.height + LINE_HEIGHT * (len(chart.lines) + 1)
    names = "".join(
        f'<text class="name {tone}" x="{LEFT}" y="{y}">— {escape(line.name)}</text>'
        for y, (tone, line) in zip(range(height - 8, 0, -LINE_HEIGHT), reversed(chart.tones), strict=False)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="masktune" viewBox="0 0 {chart.width} {height}">'
        f'{_ON_WHITE}<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="4" y="16">{escape(chart.title)}</text>{names}'
        f'<svg y="{LINE_HEIGHT}" width="{chart.width}" height="{chart.height}">{svg(chart)}</svg></svg>'
    )


@dataclass(frozen=True)
class _Scale:
    chart: Chart
    x_low: float
    x_high: float
    y_high: float

    def x(self, coordinate: float) -> float:
        span = self.x_high - self.x_low
        share = (coordinate - self.x_low) / span if span else 0.5
        return round(LEFT + share * (self.chart.right - LEFT), 1)

    def y(self, coordinate: float) -> float:
        share = min(1.0, coordinate / self.y_high) if self.y_high else 0.0
        return round(self.chart.bottom - share * (self.chart.bottom - TOP), 1)


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
    bottom, right = chart.bottom, chart.right
    elements = []
    for y in ticks(0, scale.y_high):
        at = scale.y(y)
        elements.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{at}" y2="{at}"/>')
        elements.append(
            f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end">{_tick(y, chart.percent_y)}</text>'
        )
    for x in ticks(scale.x_low, scale.x_high, chart.width // TICK_WIDTH, whole=chart.whole_x):
        at = scale.x(x)
        anchor = "end" if at > right - 14 else "middle"
        elements.append(
            f'<text x="{at}" y="{bottom + 16}" text-anchor="{anchor}">{_tick(x, chart.percent_x)}</text>'
        )
    middle, name = (LEFT + right) / 2, escape(chart.x_label)
    elements.append(f'<text x="{middle}" y="{chart.height - 3}" text-anchor="middle">{name}</text>')
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


def _dot(dot: Dot, tone: str, scale: _Scale) -> str:
    x = scale.x(dot.x)
    circle = f'<circle class="point {tone}" cx="{x}" cy="{scale.y(dot.y)}" r="{dot.radius:.1f}"/>'
    if dot.interval is None:
        return circle
    low, high = map(scale.y, dot.interval)
    return _upright(f"interval {tone}", x, high, low) + circle


def _upright(kind: str, x: float, top: float, bottom: float) -> str:
    return f'<line class="{kind}" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>'
