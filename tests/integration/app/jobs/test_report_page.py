"""The report's page needs nothing but itself. What it says is in `tests/golden_texts`."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.reports.figures import on_one_scale
from app.reports.service import render
from masktune.contract.report import Report
from masktune.contract.report.text.formats import duration
from tests.golden_texts.reports import golden_report
from tests.golden_texts.visible_text import visible_text
from tests.support.reports import GALLERY_ITEM, report


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


@given(st.floats(0, 1e6))
@settings(max_examples=30, deadline=None)
def test_durations_never_show_sixty(seconds: float) -> None:
    assert not re.search(r"\b60\b(\.0)? (s|min)", duration(seconds))
