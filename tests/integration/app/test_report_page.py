"""The report's page needs nothing but itself. What it says is in `tests/golden_texts`."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.reports import plots as figures
from app.reports.figures import on_one_scale
from app.reports.service import render
from masktune.contract.report import Report
from masktune.contract.report.text.formats import duration
from masktune.contract.vocabulary import Arm
from tests.golden_texts.reports import golden_report
from tests.golden_texts.visible_text import visible_text
from tests.support.reports import GALLERY_ITEM, evidence, report


def _html(of_report: Report) -> str:
    return render(of_report, lambda name: f"data:image/png;base64,{name}")


def test_differences_are_drawn_where_they_are() -> None:
    differences = on_one_scale(Report.model_validate(report()).differences["test"])
    assert differences
    for scaled in differences:
        assert 0 <= scaled.low <= scaled.at <= scaled.high <= 100
        assert 0 < scaled.zero < 100
        assert (scaled.sign == "better") == (scaled.low > scaled.zero)


@pytest.mark.parametrize("name", ["masktune_helped", "one_model", "inferred_groups"])
def test_the_page_is_whole_and_asks_nobody(name: str) -> None:
    html = _html(golden_report(name))
    assert visible_text(html)  # its tags match
    addresses = re.findall(r' (?:src|href|srcset|action)="([^#"][^"]*)', html)
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert addresses
    assert not re.search(r"<(?:script|link|iframe|object|form)|url\((?!#)|@import|https?://", html)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)


def test_a_report_without_figures_still_has_a_page() -> None:
    empty = report() | {"metrics": {}, "reliability": {}, "differences": {}, "verdict": None}
    assert "Side by side" not in visible_text(_html(Report.model_validate(empty)))


def test_what_users_named_is_text_and_never_markup() -> None:
    value = report()
    value["dataset"]["name"] = "<img src=x onerror=alert(1)>"
    value["gallery"]["items"] = [GALLERY_ITEM]
    html = _html(Report.model_validate(value))
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.png" in html


def test_the_figures_are_drawn_in_the_colours_of_the_page() -> None:
    curves = Report.model_validate(evidence(report())).risk_coverage["test"]
    svg = str(figures.risk_coverage(curves, name="one"))
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    for colour in ("erm", "control", "masktune"):
        assert f"var(--{colour})" in svg
    assert not re.search(r"#[0-9a-f]{6}|font-family|<style|metadata", svg)
    # The line of an arm goes through as many points as its curve has.
    lines = [e.get("d", "") for e in root.iter("path") if "stroke: var(--masktune)" in e.get("style", "")]
    assert max(line.count("L") + line.count("M") for line in lines) == len(curves[Arm.MASKTUNE].points)
    assert svg == str(figures.risk_coverage(curves, name="one"))


def test_a_reliability_diagram_has_a_dot_and_an_interval_for_each_bin() -> None:
    measured = Report.model_validate(report()).reliability["test"][Arm.ERM]
    assert measured is not None
    root = ElementTree.fromstring(str(figures.reliability(Arm.ERM, measured, name="r")))
    drawn = [e for e in root.iter() if "var(--erm)" in e.get("style", "") and e.tag in ("path", "use")]
    intervals = [e for e in drawn if e.tag == "path" and "stroke-width" not in e.get("style", "fill: none")]
    assert len([e for e in drawn if e.tag == "use"]) == len(measured.bins)
    assert len(intervals) >= len(measured.bins)


@given(st.floats(0, 1e6))
@settings(max_examples=30, deadline=None)
def test_durations_never_show_sixty(seconds: float) -> None:
    assert not re.search(r"\b60\b(\.0)? (s|min)", duration(seconds))
