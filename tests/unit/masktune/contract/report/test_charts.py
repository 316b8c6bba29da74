"""Charts: round ticks, lines that break where nothing was measured, text that cannot become markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from masktune.contract.report.charts import MOST_POINTS, Chart, Line, legend, picture, svg, thin, ticks


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 7, [0, 2, 4, 6]),
        (3, 3, [3]),
        (0, 0.031, [0, 0.01, 0.02, 0.03]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, found: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(found)


def test_counts_have_whole_ticks() -> None:
    assert ticks(1, 3, 6, whole=True) == [1, 2, 3]


def _drawn(chart: Chart) -> ET.Element:
    return ET.fromstring(svg(chart))


def _chart(*lines: Line, title: str = "a chart") -> Chart:
    return Chart(title, "epochs", "loss", lines)


def test_the_highest_value_is_at_the_top_and_zero_at_the_bottom() -> None:
    path = _drawn(_chart(Line("loss", [(1, 0.0), (2, 4.0)]))).find("path[@class='curve s0']")
    assert path is not None
    assert path.get("d") == "M46.0 214.0L468.0 28.0"


def test_a_line_breaks_where_nothing_was_measured() -> None:
    path = _drawn(_chart(Line("loss", [(1, 1.0), (2, None), (3, 1.0), (4, float("nan"))]))).find("path")
    assert path is not None
    assert str(path.get("d")).count("M") == 2


def test_a_single_point_can_be_seen() -> None:
    assert "h.1" in svg(_chart(Line("loss", [(1, 1.0)])))


def test_a_chart_without_figures_is_empty() -> None:
    assert svg(_chart(Line("loss", [(1, None)]))) == ""


def test_names_are_text_and_never_markup() -> None:
    chart = _chart(Line("<b>", [(1, 1.0)]), Line("x", [(1, 1.0)]), title='"><script>')
    drawn = svg(chart) + legend(chart)
    assert "<script>" not in drawn
    assert "<b>" not in drawn


def test_the_band_is_closed_and_the_mark_is_drawn() -> None:
    chart = Chart(
        "risk", "coverage", "risk",
        [Line("risk", [(0, 0.0), (1, 0.1)], band=[(0, 0.0, 0.2), (1, 0.05, 0.3)])], mark=(0.5, 0.05),
    )  # fmt: skip
    drawn = _drawn(chart)
    band = drawn.find("path[@class='band s0']")
    assert band is not None
    assert str(band.get("d")).endswith("Z")
    assert drawn.find("circle") is not None


def test_a_file_of_its_own_has_the_title_and_the_names() -> None:
    drawn = picture(_chart(Line("<b>", [(1, 1.0)]), Line("x", [(1, 1.0)]), title="a & b"))
    texts = [element.text for element in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert {"a & b", "— <b>", "— x"} <= set(texts)


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    points = [(float(n), float(n)) for n in range(10_000)]
    kept = thin(points)
    assert len(kept) == MOST_POINTS
    assert (kept[0], kept[-1]) == (points[0], points[-1])
