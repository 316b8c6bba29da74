"""What to do next where the data stand in the way: in words, and the command that reads them again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from masktune.contract.report.data_steps import (
    BalanceOverColumn,
    CutSplits,
    DataStep,
    HoldOutValue,
    MeasureByColumn,
    SeparateColumns,
)
from masktune.contract.report.report import Report
from masktune.contract.report.text.formats import first_names


class Words(NamedTuple):
    """A step on the data; `command` is empty where a person must do it."""

    title: str
    sentence: str
    command: str = ""


def data_step(step: DataStep, report: Report) -> Words:
    """The step in words."""
    return _STEPS[type(step)](step, report)


def column_sentence(report: Report) -> str:
    """Which columns of metadata tell the class, and what no model can be free of then; "" for none."""
    if not report.column_shortcuts:
        return ""
    inseparable = [column.column for column in report.column_shortcuts if not column.separating]
    strongest = report.column_shortcuts[0].sentence
    return f"{strongest} {_inseparable(inseparable)}".rstrip() if inseparable else strongest


def read_again(step: DataStep, report: Report) -> dict[str, Any] | None:
    """The options with which to read the data set again for this step; None where that does not help."""
    options: dict[str, Any]
    match step:
        case CutSplits():
            options = {}
        case MeasureByColumn(is_number=False) | BalanceOverColumn(grouped=False):
            options = {"group": f"meta:{step.column}"}
        case HoldOutValue():
            options = {"hold_out": [f"meta:{step.column}={step.value}"]}
        case _:
            return None
    anew = isinstance(step, CutSplits | HoldOutValue) or bool(report.dataset.shared_subjects)
    return options | ({"new_splits": True} if anew else {})


def _inseparable(columns: Sequence[str]) -> str:
    return (
        f"No training image separates the class from {first_names(columns)}: each value goes with one class "
        "alone. Nothing that is trained on these images can tell whether it learned the one or the other."
    )


def _cut_splits(step: CutSplits, report: Report) -> Words:
    word, of = report.dataset.subject_word, report.dataset.split_subjects[step.split]
    return Words(
        f"Cut the splits so that no {word} is in two",
        f"{step.subjects:,} of the {of:,} {word}s of {step.split} were also trained on or chosen by: the "
        f"models know them, so the figures of {step.split} are too good for a new {word}. Read the data set "
        f"again with new splits, which divide no {word}, and judge the models on those.",
        _command(step, report),
    )


def _separate(step: SeparateColumns, report: Report) -> Words:
    names = first_names(step.columns)
    return Words(
        f"Bring images that separate the class from {names}",
        f"{_inseparable(step.columns)} Bring about {step.per_class} training images of each class with a "
        f"value of {names} that another class has too. If a column only says the class in other words, leave "
        "it out of the data set.",
    )


def _measure(step: MeasureByColumn, report: Report) -> Words:
    sentence = f"{_finding(step.column, report)} Make groups of class × {step.column}: "
    if step.is_number:
        return Words(
            f"Measure by {step.column}",
            f"{sentence}groups need text, so add a column that has its numbers in bands, such as “60 to 69”, "
            "and name it as the groups when you upload the images again.",
        )
    return Words(
        f"Measure by {step.column}",
        f"{sentence}the worst of them then decides the verdict.",
        _command(step, report),
    )


def _balance(step: BalanceOverColumn, report: Report) -> Words:
    return Words(
        f"Balance over {step.column}",
        f"Refit the last layer so that each group of class × {step.column} counts the same: a model that "
        f"goes by {step.column} gains nothing then.",
        f"{_command(step, report)} --set groups=labels",
    )


def _hold_out(step: HoldOutValue, report: Report) -> Words:
    return Words(
        f"Hold out {step.column} {step.value}",
        f"Train without the images that have {step.column} {step.value}, and test on them alone: that shows "
        f"what a model does with a {step.column} that it has never seen.",
        _command(step, report),
    )


def _finding(name: str, report: Report) -> str:
    return next((column.sentence for column in report.column_shortcuts if column.column == name), "")


def _command(step: DataStep, report: Report) -> str:
    options = read_again(step, report) or {}
    flags = [f"--group {shlex.quote(options['group'])}"] if "group" in options else []
    flags += [f"--hold-out {shlex.quote(condition)}" for condition in options.get("hold_out", ())]
    flags += ["--new-splits"] if options.get("new_splits") else []
    return " ".join(["masktune fix", report.dataset.id, *flags])


_STEPS: Mapping[type, Callable[[Any, Report], Words]] = {
    CutSplits: _cut_splits,
    SeparateColumns: _separate,
    MeasureByColumn: _measure,
    BalanceOverColumn: _balance,
    HoldOutValue: _hold_out,
}
