"""Page, dashboard and terminal place the sentences of a report: none of them words a fact itself."""

from __future__ import annotations

import html
import re

import pytest

from app.reports.service import render
from masktune.cli.report import render as render_terminal
from masktune.cli.terminal import Terminal
from masktune.contract.report import Report
from masktune.contract.report.text import answers, verdict
from masktune.contract.report.text.answers import EVIDENCE
from masktune.contract.report.text.names import arm_after
from masktune.contract.vocabulary import Arm
from tests.support.reports import RIGHT, evidence, report
from web.shell import rendered

ALIKE: dict[Arm, tuple[float, ...]] = dict.fromkeys(RIGHT, (0.9,) * 4)
UNCONTROLLED: dict[Arm, tuple[float, ...]] = {Arm.ERM: (0.4,) * 4, Arm.MASKTUNE: (0.9,) * 4}


def page(told: Report) -> str:
    return render(told, lambda name: f"data:image/png;base64,{name}")


def dashboard(told: Report) -> str:
    after = told.models.get(arm_after(told))
    arms = list(told.models.items())
    head = rendered("report_head", report=told, verdict=verdict(told), arms=arms, after=after, here=str)
    reliance = told.shortcut_reliance
    return head + rendered("report_answers", answers=answers(told), reliance=reliance, evidence=EVIDENCE)


def terminal(told: Report) -> str:
    console = Terminal(width=100_000)
    with console.capture() as shown:
        console.print(render_terminal(told))
    return shown.get()


def words(shown: str) -> str:
    """The text without markup, with each run of blanks as one space."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def plain(sentence: str) -> str:
    return " ".join(sentence.split())


@pytest.mark.parametrize("right", [RIGHT, ALIKE, UNCONTROLLED, {"erm": (0.9,) * 4}])
def test_the_verdict_is_the_same_everywhere(right: dict[Arm, tuple[float, ...]]) -> None:
    told = Report.model_validate(evidence(report(right=right)))
    text = verdict(told)
    for shown in map(words, (page(told), dashboard(told), terminal(told))):
        for sentence in (text.title, text.sentence, text.next):
            assert plain(sentence) in shown


def test_the_evidence_of_a_shortcut_is_the_same_everywhere() -> None:
    told = Report.model_validate(evidence(report()))
    question, answer = answers(told)[0]
    assert plain(answer) in words(page(told))
    assert plain(answer) in words(terminal(told))
    assert told.shortcut_reliance is not None
    for shown in map(words, (page(told), dashboard(told), terminal(told))):
        assert question in shown
        assert EVIDENCE[told.shortcut_reliance.evidence][1] in shown
    for sign in told.shortcut_reliance.signs:
        assert plain(sign.sentence) in words(dashboard(told))
        assert plain(sign.sentence) in words(page(told))


def test_the_other_answers_are_the_same_on_page_and_dashboard() -> None:
    told = Report.model_validate(evidence(report()))
    for question, answer in answers(told)[1:]:
        for shown in map(words, (page(told), dashboard(told))):
            assert question in shown
            assert plain(answer) in shown
