"""Steps on the data in words, with the command that a shell runs as it stands."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from masktune.contract.report import Report
from masktune.contract.report.data_steps import SeparateColumns
from masktune.contract.report.text import Step, next_steps, verdict
from masktune.contract.report.text.data_steps import column_sentence, read_again
from tests.support.reports import report

SITE: dict[str, Any] = {
    "column": "the site",
    "sentence": "The metadata column the site tells.",
    "is_grouping": False,
}
LEAK: dict[str, Any] = {
    "shared_subjects": {"test": {"train": 12}},
    "split_subjects": {"test": 40},
    "subject_word": "patient",
}


def told(step: dict[str, Any], separating: int = 5, **dataset: Any) -> Report:
    document = report()
    document["dataset"] |= dataset
    document["column_shortcuts"] = [SITE | {"separating": separating}]
    section = {"arm": "masktune", "model": "mdl_2", "reason": "masktune_helped", "next": [step]}
    return Report.model_validate(document | {"recommendation": section})


def words(step: dict[str, Any], **changes: Any) -> Step:
    (one,) = next_steps(told(step, **changes))
    assert one.name == step["step"]
    assert one.sentence.endswith(".")
    return one


def test_a_leak_is_told_in_the_words_of_the_data_set() -> None:
    step = words({"step": "cut_splits", "split": "test", "subjects": 12}, **LEAK)
    assert step.title == "Cut the splits so that no patient is in two"
    assert "12 of the 40 patients of test" in step.sentence
    assert "too good" in step.sentence
    assert step.command.startswith("masktune fix ds_")
    assert step.command.endswith(" --new-splits")


def test_a_verdict_begins_with_the_leak_and_is_not_green() -> None:
    step = {"step": "cut_splits", "split": "test", "subjects": 12}
    decided = verdict(told(step, **LEAK))
    assert decided.sentence.startswith("Of the 40 patients of test, 12 are also in train")
    assert verdict(told(step)).tone == "good"
    assert decided.tone == "neutral"


@pytest.mark.parametrize(
    ("step", "arguments"),
    [
        ({"step": "measure_by_column", "column": "the site"}, ["--group", "meta:the site"]),
        (
            {"step": "balance_over_column", "column": "the site", "grouped": False},
            ["--group", "meta:the site", "--set", "groups=labels"],
        ),
        ({"step": "balance_over_column", "column": "x", "grouped": True}, ["--set", "groups=labels"]),
        (
            {"step": "hold_out_value", "column": "the site", "value": "St. Mary's $(x)"},
            ["--hold-out", "meta:the site=St. Mary's $(x)", "--new-splits"],
        ),
    ],
)
def test_a_command_is_what_a_shell_reads(step: dict[str, Any], arguments: list[str]) -> None:
    command = words(step).command
    assert shlex.split(command)[:2] == ["masktune", "fix"]
    assert shlex.split(command)[3:] == arguments
    if step["step"] == "measure_by_column":
        assert words(step, **LEAK).command.endswith(" --new-splits")


def test_a_column_is_said_again_where_the_report_judges() -> None:
    step = {"step": "measure_by_column", "column": "the site"}
    assert SITE["sentence"] in verdict(told(step)).sentence
    assert SITE["sentence"] in words(step).sentence
    assert "tell whether" not in column_sentence(told(step))


def test_where_no_image_separates_class_and_column_nothing_trained_can() -> None:
    step = {"step": "separate_columns", "columns": ["the site"], "per_class": 60}
    document = told(step, separating=0)
    for text in (verdict(document).sentence, words(step).sentence):
        assert "No training image separates the class from the site" in text
        assert "Nothing that is trained on these images can tell" in text
    assert "Bring about 60 training images of each class" in words(step).sentence
    assert words(step).command == ""
    typed = SeparateColumns(step="separate_columns", columns=["the site"], per_class=60)
    assert read_again(typed, document) is None


def test_numbers_must_be_made_bands_first() -> None:
    step = words({"step": "measure_by_column", "column": "age", "is_number": True})
    assert "bands" in step.sentence
    assert step.command == ""
