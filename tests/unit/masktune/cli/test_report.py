"""The report on a terminal: tables of figures, then the sentences of the report."""

from __future__ import annotations

import pytest

from masktune.cli.report import comparison, conclusions, legend
from masktune.cli.terminal import Terminal
from masktune.contract.report import Report
from masktune.contract.report.text import verdict
from masktune.contract.vocabulary import Arm
from tests.support.reports import evidence, report


def test_the_columns_are_the_models_in_reading_order() -> None:
    told = Report.model_validate(report())
    assert [str(column.header) for column in comparison(told).columns] == [
        "400 test samples",
        "ERM",
        "Control",
        "MaskTune",
    ]
    assert "Control: the same further training, without masks" in legend(told)


def test_the_control_of_a_retrained_head_is_not_a_training() -> None:
    value = report()
    value["models"] = {"retrained_control": value["models"]["masktune_control"]}
    text = legend(Report.model_validate(value))
    assert text == "Control head: the same last layer, refitted without groups."


def test_every_figure_has_its_interval_and_every_group_its_counts() -> None:
    told = Report.model_validate(report())
    console = Terminal(width=200)
    with console.capture() as seen:
        console.print(comparison(told))
    erm = told.metrics["test"][Arm.ERM]
    assert f"{erm.accuracy:.3f} ({erm.low:.3f}–{erm.high:.3f})" in seen.get()
    group = erm.groups[0]
    assert f"{group.correct}/{group.n} = {group.accuracy:.3f}" in seen.get()


def test_a_table_names_the_classes_that_it_has_no_image_of() -> None:
    value = report()
    value["dataset"]["classes"] = [*value["dataset"]["classes"], "ten"]
    assert str(comparison(Report.model_validate(value)).caption).startswith("No image of ten is in test")
    assert comparison(Report.model_validate(report())).caption is None


def test_a_narrow_terminal_cuts_no_figure() -> None:
    told = Report.model_validate(report())
    console = Terminal(width=60)
    with console.capture() as seen:
        console.print(comparison(told))
    assert "…" not in seen.get()
    assert f"({told.metrics['test'][Arm.MASKTUNE].low:.3f}–" in seen.get()


@pytest.mark.parametrize("note", [None, "The backbone was frozen."])
def test_the_conclusions_are_the_shortcut_and_the_verdict(note: str | None) -> None:
    told = Report.model_validate(evidence(report()) | {"training_note": note})
    shortcut, *signs, decision, figures = conclusions(told)[: -1 if note else None]
    assert shortcut.startswith("Does the model rely on a shortcut? It relies on a shortcut. ")
    assert told.shortcut_reliance is not None
    assert signs == [sign.sentence for sign in told.shortcut_reliance.signs if sign.present]
    assert decision == f"{verdict(told).title}. {verdict(told).sentence}"
    assert figures == verdict(told).figures
    assert note is None or conclusions(told)[-1] == note
