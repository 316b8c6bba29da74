"""The report's page: what it says follows from the figures, and it needs nothing but itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services import report_figures as figures
from app.services.report_page import build_page
from app.services.report_words import duration, points
from app.services.reports import render
from tests.unit.app.report_samples import GROUPS, evidence, report


def _picture(name: str) -> str:
    return f"data:image/png;base64,{name}"


def _html(value: dict[str, Any]) -> str:
    return render(value, _picture)


ITEM = {
    "sample": 7,
    "path": "0-4/<script>alert(1)</script>.png",
    "label": "0-4",
    "group": GROUPS[0],
    "rule": "most_changed",
    "moved": 0.9,
    "masked": 0.03,
    "image": "7-image.png",
    "arms": {
        arm: {"label": label, "probability": 0.98, "right": right, "overlay": "o.png", "mask": "m.png"}
        for arm, label, right in (("erm", "5-9", False), ("masktune", "0-4", True))
    },
}


class _Reader(HTMLParser):
    """Checks that tags are closed, and gathers addresses and text."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "srcset", "action") and not (value or "").startswith("#")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def test_the_verdict_comes_first_in_plain_words() -> None:
    page = build_page(report(), _picture)
    assert (page.verdict.tone, page.verdict.title) == ("good", "MaskTune helped")
    assert "worst-group accuracy" in page.verdict.sentence
    assert "the control" in page.verdict.sentence
    text = _read(_html(report())).text
    assert text.index("MaskTune helped") < text.index("Side by side")
    assert [a.question for a in page.answers] == [
        "Does the model lean on a shortcut?",
        "Did MaskTune help?",
        "May I trust the new one?",
    ]
    assert page.answers[0].answer == "This report has not looked for one."


def test_other_verdicts() -> None:
    same = {"erm": (0.9,) * 4, "control": (0.9,) * 4, "masktune": (0.9,) * 4}
    assert build_page(report(right=same), _picture).verdict.title == "No detectable effect"
    hurt = {"erm": (0.9,) * 4, "control": (0.9,) * 4, "masktune": (0.2, 0.9, 0.9, 0.9)}
    assert build_page(report(right=hurt), _picture).verdict.tone == "bad"
    alone = build_page(report(right={"erm": (0.9,) * 4}), _picture)
    assert (alone.verdict.title, alone.main.changes if alone.main else None) == ("No comparison", ())


def test_every_arm_has_its_figures_with_intervals() -> None:
    page = build_page(report(), _picture)
    assert [arm.key for arm in page.arms] == ["erm", "control", "masktune"]
    assert page.main is not None
    assert page.main.name == "test"
    assert [row.name for row in page.main.groups] == list(GROUPS)
    for row in page.main.groups:
        assert [f.arm for f in row.figures] == ["erm", "control", "masktune"]
        for figure in row.figures:
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= figure.value <= figure.high
    for arm in page.arms:
        lowest = [f for row in page.main.groups for f in row.figures if f.arm == arm.key and f.lowest]
        assert len(lowest) == 1
    assert [split.name for split in page.others] == ["val"]


def test_differences_are_drawn_where_they_are() -> None:
    page = build_page(report(), _picture)
    assert page.main is not None
    for change in page.main.changes:
        assert 0 <= change.left <= change.at <= 100 - change.right <= 100
        assert 0 < change.zero < 100
        assert (change.sign == "better") == (change.left > change.zero)


@pytest.mark.parametrize("groups", [True, False])
def test_the_page_is_whole_and_asks_nobody(groups: bool) -> None:
    value = evidence(report(groups=groups))
    value["gallery"]["items"] = [ITEM]
    reader = _read(_html(value))
    assert reader.addresses
    assert all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    assert not reader.tags & {"script", "link", "iframe", "object", "form"}
    html = _html(value)
    assert not re.search(r"url\((?!#)|@import|https?://", html)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)
    assert ("Group by group" in html) == groups


def test_what_users_named_is_text_and_never_markup() -> None:
    value = report()
    value["dataset"]["name"] = "<img src=x onerror=alert(1)>"
    value["gallery"]["items"] = [ITEM]
    html = _html(value)
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.png" in html


def test_the_three_questions_are_answered_in_order_and_with_their_evidence() -> None:
    value = evidence(report())
    text = re.sub(r"[ \n]+", " ", _read(_html(value)).text)
    parts = ["1. Does the model lean on a shortcut?", "2. Did MaskTune help?", "3. May I trust the new one?"]
    places = [text.rindex(part) for part in parts]
    assert places == sorted(places)
    first, second, third = (
        text[start:end] for start, end in zip(places, [*places[1:], len(text)], strict=True)
    )
    for evidence_of_the_shortcut in (
        "It leans on a shortcut",
        "What a model's own mask costs it",
        "top-left corner",
        "Slices that nobody labelled",
        "is looked at in 2 ways by ERM",
        "adjusted mutual information",
    ):
        assert evidence_of_the_shortcut in first
    for evidence_of_help in ("Side by side", "What MaskTune changed", "of the saliency moved elsewhere"):
        assert evidence_of_help in second
    for evidence_of_trust in ("not certifiable", "Wrong answers, by how many it answers", "ECE"):
        assert evidence_of_trust in third


def test_the_figures_of_the_page_are_those_of_the_json() -> None:
    value = evidence(report())
    text = re.sub(r"[ \n]+", " ", _read(_html(value)).text)
    cost = value["masking_cost"]["test"]["erm"]
    plain, own = cost["arms"][0], cost["arms"][1]
    assert (plain["accuracy"], own["accuracy"]) == (1.0, 0.5)
    assert f"50.0\u00a0%{100 * own['low']:.1f} – {100 * own['high']:.1f}" in text
    for part in value["slices"]["slices"]:
        assert f"Slice {part['index'] + 1} {part['n']:,} samples" in text
    worst = value["metrics"]["test"]["masktune"]
    low, high = worst["worst_group_accuracy_low"], worst["worst_group_accuracy_high"]
    assert f"{100 * low:.1f}\u00a0% – {100 * high:.1f}\u00a0%" in text
    certified = value["certified"]["masktune"]["wishes"][1]
    assert f"{certified['errors']} of {certified['answered']:,} wrong" in text


def test_the_figures_are_drawn_in_the_colours_of_the_page_with_words_for_who_cannot_see_them() -> None:
    value = evidence(report())
    curves = value["risk_coverage"]["test"]
    svg = str(figures.risk_coverage(list(curves.items()), name="one"))
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    last = curves["masktune"]["points"][-1]
    assert f"MaskTune errs on {100 * last['risk']:.1f}\u00a0%" in str(root.get("aria-label"))
    for arm in curves:
        assert f"var(--{arm})" in svg
    assert not re.search(r"#[0-9a-f]{6}|font-family|<style|metadata", svg)
    # The line of an arm goes through as many points as its curve has.
    lines = [e.get("d", "") for e in root.iter("path") if "stroke: var(--masktune)" in e.get("style", "")]
    assert max(line.count("L") + line.count("M") for line in lines) == len(curves["masktune"]["points"])
    assert svg == str(figures.risk_coverage(list(curves.items()), name="one"))


def test_a_reliability_diagram_has_a_dot_and_an_interval_for_each_bin() -> None:
    found = report()["reliability"]["test"]["erm"]
    root = ElementTree.fromstring(str(figures.reliability("erm", found, name="r")))
    drawn = [e for e in root.iter() if "var(--erm)" in e.get("style", "") and e.tag in ("path", "use")]
    intervals = [e for e in drawn if e.tag == "path" and "stroke-width" not in e.get("style", "fill: none")]
    assert len([e for e in drawn if e.tag == "use"]) == len(found["bins"])
    assert len(intervals) >= len(found["bins"])


def test_what_is_not_there_is_left_out() -> None:
    value = report(right={"erm": (0.9,) * 4})
    value |= {"masks": None, "gallery": None, "disagreement": {}, "cost": []}
    text = _read(_html(value)).text
    for heading in (
        "Does the model lean on a shortcut?",
        "Where each model looks",
        "The same images under each model",
        "What was masked",
        "What MaskTune changed",
        "Wrong answers, by how many it answers",
    ):
        assert heading not in text.partition("2. Did")[2]
    empty = value | {"metrics": {}, "reliability": {}, "differences": {}}
    assert "Side by side" not in _read(_html(empty)).text


@given(st.floats(0, 1e6))
@settings(max_examples=30, deadline=None)
def test_durations_never_show_sixty(seconds: float) -> None:
    assert not re.search(r"\b60\b(\.0)? (s|min)", duration(seconds))


def test_points_have_a_sign() -> None:
    assert (points(0.123), points(-0.04)) == ("+12.3", "−4.0")
