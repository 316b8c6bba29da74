"""Page, dashboard and terminal place the sentences of a report: none of them words a fact itself."""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from app.reports.service import render
from masktune.cli.report import render as render_terminal
from masktune.cli.terminal import Terminal
from masktune.contract.models import DriftState
from masktune.contract.reject_option import DriftLook
from masktune.contract.report import Report
from masktune.contract.report.text import answers, drift_statement, next_steps, other_verdicts, verdict
from masktune.contract.report.text.answers import EVIDENCE, shortcut_meaning
from masktune.contract.report.text.glossary import glossary
from masktune.contract.report.text.names import arm_after, shared_subjects
from masktune.contract.report.text.notes import many_empty_masks
from masktune.contract.vocabulary import Arm
from tests.support.reports import RIGHT, evidence, report
from web.shell import render as render_dashboard

ALIKE: dict[Arm, tuple[float, ...]] = dict.fromkeys(RIGHT, (0.9,) * 4)
UNCONTROLLED: dict[Arm, tuple[float, ...]] = {Arm.ERM: (0.4,) * 4, Arm.MASKTUNE: (0.9,) * 4}

Right = tuple[tuple[Arm, tuple[float, ...]], ...]
DEFAULT: Right = tuple(RIGHT.items())


def page(told: Report) -> str:
    return render(told, lambda name: f"data:image/png;base64,{name}")


def dashboard(told: Report) -> str:
    after = told.models.get(arm_after(told))
    arms = list(told.models.items())
    steps = [render_dashboard("next_step", step=step) for step in next_steps(told)]
    decided = render_dashboard(
        "report_verdict",
        report=told,
        verdict=verdict(told),
        arms=arms,
        after=after,
        others=other_verdicts(told),
        link=str,
    )
    reliance = told.shortcut_reliance
    return (
        "".join(steps)
        + decided
        + render_dashboard(
            "report_answers",
            answers=answers(told),
            reliance=reliance,
            evidence=EVIDENCE,
            meaning=shortcut_meaning,
        )
    )


def terminal(told: Report) -> str:
    console = Terminal(width=100_000)
    with console.capture() as shown:
        console.print(render_terminal(told))
    return shown.get()


class Rendered(NamedTuple):
    """What a reader sees of a report: the text without markup, each run of blanks as one space."""

    page: str
    dashboard: str
    terminal: str


def words(shown: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", shown)).split())


@cache
def rendered_everywhere(right: Right = DEFAULT) -> tuple[Report, Rendered]:
    """A report, and all that show it (a second each time); `right` as in `tests.support.reports.report`."""
    told = Report.model_validate(evidence(report(right=dict(right))))
    return told, Rendered(words(page(told)), words(dashboard(told)), words(terminal(told)))


def plain(sentence: str) -> str:
    return " ".join(sentence.split())


@pytest.mark.parametrize("right", [RIGHT, ALIKE, UNCONTROLLED, {Arm.ERM: (0.9,) * 4}])
def test_the_verdict_is_the_same_everywhere(right: dict[Arm, tuple[float, ...]]) -> None:
    told, everywhere = rendered_everywhere(tuple(right.items()))
    text = verdict(told)
    for shown in everywhere:
        for sentence in (text.title, text.sentence, text.figures):
            assert plain(sentence) in shown


def test_step_verdict_and_colour_agree_where_a_shortcut_may_have_been_given_up() -> None:
    """The masks took the model from 98 to 80 of 100; without groups nobody can call that harm."""
    right = {Arm.ERM: (0.98,) * 4, Arm.MASKTUNE_CONTROL: (0.98,) * 4, Arm.MASKTUNE: (0.8,) * 4}
    step = {"step": "use_model", "arm": "masktune", "model": "mdl_masktune"}
    section = {"arm": "masktune", "model": "mdl_masktune", "reason": "groups_inferred", "next": [step]}
    told = Report.model_validate(
        evidence(report(right=right, groups=False)) | {"recommendation": section, "after": "masktune"}
    )
    text = verdict(told)
    assert (text.tone, text.title) == ("neutral", "Not testable here")
    assert "cannot tell" in text.sentence
    assert '<div class="verdict neutral">' in page(told)
    assert '<div class="callout unsure"><strong>Not testable here</strong>' in dashboard(told)
    for shown in (words(page(told)), words(dashboard(told)), words(terminal(told))):
        assert "Use the MaskTune model." in shown
        assert plain(text.sentence) in shown
        assert "MaskTune hurt" not in shown


def test_many_empty_masks_are_spoken_of_before_the_verdict() -> None:
    value = evidence(report())
    value["masks"] |= {"images": 1000, "nothing_masked": 200}
    told = Report.model_validate(value)
    empty, text = many_empty_masks(told.masks), plain(verdict(told).sentence)
    assert text.startswith(f"{empty} ")
    for shown in (words(page(told)), words(dashboard(told)), words(terminal(told))):
        assert text in shown


def test_subjects_that_the_models_know_are_told_beside_the_figures_and_in_the_verdict() -> None:
    value = evidence(report())
    value["dataset"] |= {"split_subjects": {"test": 40}, "shared_subjects": {"test": {"train": 12}}}
    told = Report.model_validate(value)
    caveat = shared_subjects(told, "test")
    assert caveat.startswith("Of the 40 subjects of test, 12 are also in train")
    assert caveat in verdict(told).sentence
    assert caveat in words(dashboard(told))
    for shown in (words(page(told)), words(terminal(told))):
        assert shown.count(caveat) >= 2


def test_each_other_model_has_its_verdict_and_empty_masks_are_told_with_that_of_masktune() -> None:
    value = evidence(report())
    value["masks"] |= {"images": 1000, "nothing_masked": 200}
    of_split = value["metrics"]["test"]
    of_split |= {"retrained": of_split["erm"], "retrained_control": of_split["erm"]}
    masktune = value["verdict"]
    retrained = masktune | {"a": "retrained", "b": "retrained_control", "verdict": "hurt"}
    verdicts = {"masktune": masktune, "retrained": retrained}
    told = Report.model_validate(value | {"after": "retrained", "verdict": retrained, "verdicts": verdicts})
    (other,) = other_verdicts(told)
    empty = many_empty_masks(told.masks)
    assert (verdict(told).title, other.title) == ("The retrained head hurt", "MaskTune helped")
    assert (empty in verdict(told).sentence, empty in other.sentence) == (False, True)
    for shown in (words(page(told)), words(dashboard(told)), words(terminal(told))):
        assert plain(verdict(told).sentence) in shown
        assert f"{other.title}. {plain(other.sentence)}" in shown


def test_the_evidence_of_a_shortcut_is_the_same_everywhere() -> None:
    told, everywhere = rendered_everywhere()
    question, answer = answers(told)[0]
    assert plain(answer) in everywhere.page
    assert plain(answer) in everywhere.terminal
    assert told.shortcut_reliance is not None
    for shown in everywhere:
        assert question in shown
        assert plain(shortcut_meaning(told.shortcut_reliance)) in shown
        assert EVIDENCE[told.shortcut_reliance.evidence][1] in shown
    for sign in told.shortcut_reliance.signs:
        assert plain(sign.sentence) in everywhere.dashboard
        assert plain(sign.sentence) in everywhere.page


def test_the_other_answers_are_the_same_on_page_and_dashboard() -> None:
    told, everywhere = rendered_everywhere()
    for question, answer in answers(told)[1:]:
        for shown in (everywhere.page, everywhere.dashboard):
            assert question in shown
            assert plain(answer) in shown


def test_a_reader_meets_no_name_of_a_program() -> None:
    for shown in rendered_everywhere()[1]:
        assert re.findall(r"(?:GET|POST|PUT) /\S*|surest_\d+|max_softmax|xgradcam|docs/\S*", shown) == []
    state = DriftState(status="drifted", found_at=None)
    look = DriftLook(at=1.7e9, inputs=500, level=0.01)
    statement = drift_statement(
        state, look, ["surest_50", "surest_80", "disagreement"], open_inputs=0, window_inputs=200
    )
    assert statement.startswith(
        "The inputs of this model differ from its calibration split in how sure the model is and how often "
        "the two models disagree, over 500 inputs in a row: "
    )


def test_the_glossary_of_the_page_agrees_with_that_of_the_documentation() -> None:
    terms = set(re.findall(r"\*\*(.*?)\*\*", Path("docs/GLOSSARY.md").read_text()))
    words = {
        word
        for after in ("masktune", "retrained")
        for word, _ in glossary(Report.model_validate(report() | {"after": after}))
    }
    assert words - {"Control head"} <= terms
