"""The report on a terminal. What it says is in `tests/golden_texts`."""

from __future__ import annotations

from masktune.cli.report import comparison
from masktune.cli.terminal import Terminal
from masktune.contract.report import Report
from masktune.contract.vocabulary import Arm
from tests.support.reports import report


def test_a_narrow_terminal_cuts_no_figure() -> None:
    of_report = Report.model_validate(report())
    console = Terminal(width=60)
    with console.capture() as captured:
        console.print(comparison(of_report))
    assert "…" not in captured.get()
    assert f"({of_report.metrics['test'][Arm.MASKTUNE].low:.3f}–" in captured.get()
