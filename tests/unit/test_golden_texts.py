"""What terminal, page and dashboard print of reports is what was read and committed, and worded once."""

from __future__ import annotations

import re
from difflib import unified_diff
from functools import cache
from pathlib import Path

import pytest

from masktune.contract.report import Report
from masktune.contract.report.text import answers, next_steps, other_verdicts, verdict
from masktune.contract.report.text.answers import shortcut_meaning
from masktune.contract.report.text.glossary import glossary
from tests.golden_texts.printed import FOLDER, TEXTS, file_of, text_of
from tests.golden_texts.reports import NAMES, golden_report


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_what_was_committed(name: str) -> None:
    file = file_of(name)
    committed = file.read_text(encoding="utf-8") if file.exists() else ""
    before, now = committed.splitlines(), text_of(name).splitlines()
    changes = "\n".join(unified_diff(before, now, file.name, "now", lineterm=""))
    if changes:
        pytest.fail(f"{changes}\n\nIf this is meant, `make golden` rewrites the texts.", pytrace=False)


def test_each_file_is_that_of_a_text() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(TEXTS)


@cache
def printed_in(name: str) -> tuple[Report, list[str]]:
    """A report and its texts on terminal, page and dashboard, each run of blanks as one space."""
    texts = re.split(r"^===== \w+$", file_of(name).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return golden_report(name), [" ".join(text.split()) for text in texts]


@pytest.mark.parametrize("name", NAMES)
def test_each_sentence_is_the_same_wherever_it_is_placed(name: str) -> None:
    report, (terminal, page, dashboard) = printed_in(name)
    decision, (shortcut, *others) = verdict(report), answers(report)
    sentences = [decision.title, decision.sentence, decision.figures, shortcut.question]
    sentences += [part for step in next_steps(report) for part in (step.title, step.sentence, step.command)]
    sentences += [f"{other.title}. {other.sentence}" for other in other_verdicts(report)]
    sentences += [shortcut_meaning(report.shortcut_reliance)] if report.shortcut_reliance else []
    for sentence in sentences:
        for text in (terminal, page, dashboard):
            assert " ".join(sentence.split()) in text
    for part in (part for answer in others for part in answer):
        for text in (page, dashboard):
            assert " ".join(part.split()) in text


def test_a_reader_meets_no_name_of_a_program() -> None:
    names = r"(?:GET|POST|PUT) /\S*|surest_\d+|max_softmax|xgradcam|docs/\S*"
    for name in TEXTS:
        assert re.findall(names, file_of(name).read_text(encoding="utf-8")) == []


def test_the_glossary_of_the_page_agrees_with_that_of_the_documentation() -> None:
    terms = set(re.findall(r"\*\*(.*?)\*\*", Path("docs/GLOSSARY.md").read_text(encoding="utf-8")))
    reports = map(golden_report, ("masktune_helped", "inferred_groups"))
    words = {word for report in reports for word, _ in glossary(report)}
    assert words - {"Control head"} <= terms
