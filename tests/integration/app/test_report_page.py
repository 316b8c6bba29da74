"""The report's page: what it says follows from the figures, and it needs nothing but itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.reports import plots as figures
from app.reports.figures import on_one_scale, slices
from app.reports.service import render
from masktune.contract.report import Report
from masktune.contract.report.text.formats import duration
from masktune.contract.vocabulary import Arm
from tests.support.reports import GROUPS, evidence, report


def _picture(name: str) -> str:
    return f"data:image/png;base64,{name}"


def _html(value: dict[str, Any]) -> str:
    return render(Report.model_validate(value), _picture)


def _text(value: dict[str, Any]) -> str:
    return " ".join(_read(_html(value)).text.split())


ITEM = {
    "sample": 7,
    "path": "0-4/<script>alert(1)</script>.png",
    "label": "0-4",
    "group": GROUPS[0],
    "rule": "most_changed",
    "shift": 0.9,
    "masked_share": 0.03,
    "image": "7-image.png",
    "arms": {
        arm: {
            "label": label,
            "probability": 0.98,
            "correct": right,
            "heatmap": "h.png",
            "mask": "m.png",
            "mask_outline": "o.png",
        }
        for arm, label, right in (("erm", "5-9", False), ("masktune", "0-4", True))
    },
}


class _Reader(HTMLParser):
    """Checks that tags are closed, and gathers addresses and text."""

    VOID = frozenset({"meta", "img", "br", "input"})

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


def test_every_arm_has_its_figures_with_intervals() -> None:
    rows = slices(Report.model_validate(report()), "test", "groups")
    assert [row.name for row in rows] == list(GROUPS)
    arms = ["erm", "masktune_control", "masktune"]
    for row in rows:
        assert [f.arm for f in row.figures] == arms
        for figure in row.figures:
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= figure.share <= figure.high
    for arm in arms:
        assert sum(f.lowest for row in rows for f in row.figures if f.arm == arm) == 1
    assert "The same on the val split (400 samples)" in _text(report())


def test_differences_are_drawn_where_they_are() -> None:
    differences = on_one_scale(Report.model_validate(report()).differences["test"])
    assert differences
    for scaled in differences:
        assert 0 <= scaled.low <= scaled.at <= scaled.high <= 100
        assert 0 < scaled.zero < 100
        assert (scaled.sign == "better") == (scaled.low > scaled.zero)


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
    questions = ("Does the model rely on a shortcut?", "Did MaskTune help?", "Can I trust the new model?")
    parts = [f"{number}. {question}" for number, question in enumerate(questions, start=1)]
    on_one_scale = [text.rindex(part) for part in parts]
    assert on_one_scale == sorted(on_one_scale)
    first, second, third = (
        text[start:end] for start, end in zip(on_one_scale, [*on_one_scale[1:], len(text)], strict=True)
    )
    for evidence_of_the_shortcut in (
        "It relies on a shortcut",
        "What its own mask costs each model",
        "top-left corner",
        "The metadata column hospital alone tells 0-4 from 5-9 with 100.0 % accuracy",
        "The metadata column file was left out: it has no value twice.",
    ):
        assert evidence_of_the_shortcut in first
    for evidence_of_help in (
        "Side by side",
        "Differences between the models",
        "The saliency maps of the original model and of MaskTune differ by",
    ):
        assert evidence_of_help in second
    for evidence_of_trust in ("not certifiable", "Selective risk over coverage", "ECE"):
        assert evidence_of_trust in third


def test_the_figures_of_the_page_are_those_of_the_json() -> None:
    value = evidence(report())
    text = re.sub(r"[ \n]+", " ", _read(_html(value)).text)
    cost = value["masking_cost"]["test"]["erm"]
    plain, own = cost["arms"][0], cost["arms"][1]
    assert (plain["accuracy"], own["accuracy"]) == (1.0, 0.5)
    assert f"50.0\u00a0%{100 * own['low']:.1f} – {100 * own['high']:.1f}" in text
    worst = value["metrics"]["test"]["masktune"]
    low, high = worst["worst_group_accuracy_low"], worst["worst_group_accuracy_high"]
    assert f"{100 * low:.1f} – {100 * high:.1f}" in text
    certified = value["certificates"]["masktune"]["targets"][1]
    assert f"{certified['errors']} of {certified['answered']:,} wrong" in text


def test_the_figures_are_drawn_in_the_colours_of_the_page_with_words_for_who_cannot_see_them() -> None:
    value = evidence(report())
    curves = Report.model_validate(value).risk_coverage["test"]
    svg = str(figures.risk_coverage(curves, name="one"))
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    last = curves[Arm.MASKTUNE].points[-1]
    assert f"MaskTune is wrong on {100 * last.risk:.1f}\u00a0%" in str(root.get("aria-label"))
    for colour in ("erm", "control", "masktune"):
        assert f"var(--{colour})" in svg
    assert not re.search(r"#[0-9a-f]{6}|font-family|<style|metadata", svg)
    # The line of an arm goes through as many points as its curve has.
    lines = [e.get("d", "") for e in root.iter("path") if "stroke: var(--masktune)" in e.get("style", "")]
    assert max(line.count("L") + line.count("M") for line in lines) == len(curves[Arm.MASKTUNE].points)
    assert svg == str(figures.risk_coverage(curves, name="one"))


def test_a_reliability_diagram_has_a_dot_and_an_interval_for_each_bin() -> None:
    found = Report.model_validate(report()).reliability["test"][Arm.ERM]
    assert found is not None
    root = ElementTree.fromstring(str(figures.reliability(Arm.ERM, found, name="r")))
    drawn = [e for e in root.iter() if "var(--erm)" in e.get("style", "") and e.tag in ("path", "use")]
    intervals = [e for e in drawn if e.tag == "path" and "stroke-width" not in e.get("style", "fill: none")]
    assert len([e for e in drawn if e.tag == "use"]) == len(found.bins)
    assert len(intervals) >= len(found.bins)


def test_what_is_not_there_is_left_out() -> None:
    value = report(right={Arm.ERM: (0.9,) * 4})
    value |= {"masks": None, "gallery": None, "disagreement": {}, "cost": []}
    text = _read(_html(value)).text
    for heading in (
        "Does the model rely on a shortcut?",
        "Where each model looks",
        "The same images under each model",
        "What was masked",
        "Differences between the models",
        "Selective risk over coverage",
    ):
        assert heading not in text.partition("2. Did")[2]
    empty = value | {"metrics": {}, "reliability": {}, "differences": {}}
    assert "Side by side" not in _read(_html(empty)).text


@given(st.floats(0, 1e6))
@settings(max_examples=30, deadline=None)
def test_durations_never_show_sixty(seconds: float) -> None:
    assert not re.search(r"\b60\b(\.0)? (s|min)", duration(seconds))


def test_a_model_whose_probabilities_are_not_finite_still_has_a_page() -> None:
    value = evidence(report())
    by_arm = value["reliability"]["test"]
    by_arm["masktune"] = None
    value["reliability_at_temperature"] = {"test": {"masktune": None, "erm": by_arm["erm"]}}
    value["temperature"] = {arm: {"value": 1.5, "split": "val", "n": 150} for arm in ("masktune", "erm")}
    by_arm["erm"] |= {"non_finite": 3}
    text = _read(_html(value)).text
    assert "MaskTune · not known" in text
    assert "3 answers that are not finite numbers are left out" in text
    assert text.count("(ECE)") == 2
