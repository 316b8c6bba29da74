"""The buttons of steps that change the data: read them again, balance over them, bring others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from nicegui import ui

from masktune import AsyncClient, OwnKey
from masktune.contract.report import Report
from masktune.contract.report.data_steps import (
    BalanceOverColumn,
    CutSplits,
    DataStep,
    HoldOutValue,
    MeasureByColumn,
)
from masktune.contract.report.text.data_steps import read_again as options_of
from web.read_again import read_again
from web.shell import button

_LABELS: Mapping[type[DataStep], str] = {
    CutSplits: "Cut new splits",
    MeasureByColumn: "Measure by it",
    BalanceOverColumn: "Balance over it",
    HoldOutValue: "Hold it out",
}


def show_data_step(connection: AsyncClient, step: DataStep, report: Report, key: OwnKey, kind: str) -> None:
    """The button of the step, if the key may do it."""
    if not key.may("train"):
        return
    options = options_of(step, report)
    if options is not None:
        label = _LABELS[type(step)]
        button(label, partial(read_again, connection, report.dataset.id, options), kind)
    elif isinstance(step, BalanceOverColumn):
        form = f"/new?dataset={report.dataset.id}&groups=labels"
        button(_LABELS[BalanceOverColumn], partial(ui.navigate.to, form), kind)
    else:
        button("Upload images", partial(ui.navigate.to, "/"), kind)
