"""What a report says to do next, each step with the button that does it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

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
from masktune.contract.report.recommendation import (
    AddTestImages,
    CheckLabels,
    CompareNetworks,
    NextStep,
    ReviewImages,
    TrainMoreSeeds,
    UseControl,
    UseModel,
)
from masktune.contract.report.text import next_steps
from masktune.contract.report.text.data_steps import read_again as options_of
from masktune.contract.report.text.judged_job import judged_by_images
from masktune.contract.small_network import SMALL_NETWORK_TRIAL
from web.aliases import choose_alias
from web.shell import button, html, notify_on_error

_LABELS: Mapping[type, str] = {
    CutSplits: "Cut new splits",
    MeasureByColumn: "Measure by it",
    BalanceOverColumn: "Balance over it",
    HoldOutValue: "Hold it out",
}


def show_steps(connection: AsyncClient, report: Report, key: OwnKey) -> None:
    """Show the steps in their order; the first has the main button. Nothing for a report without any."""
    if report.recommendation is None:
        return
    ui.html("<h2>What to do next</h2>", sanitize=False)
    with ui.element("ol").classes("steps"):
        kind = ""
        for step, words in zip(report.recommendation.next, next_steps(report), strict=True):
            with ui.element("li"):
                html("next_step", step=words)
                _step_button(connection, step, report, key, kind)
            kind = "second"


def _step_button(connection: AsyncClient, step: NextStep, report: Report, key: OwnKey, kind: str) -> None:
    """The button of one step, if the key may do it."""
    options = options_of(step, report) if isinstance(step, DataStep) else None
    match step:
        case ReviewImages():
            button("Look at them", partial(ui.navigate.to, f"/jobs/{report.job}/image-answers"), kind)
        case CheckLabels():
            page = f"/datasets/{report.dataset.id}?inferred_by={report.job}&label_looks_wrong=true"
            button("Look at them", partial(ui.navigate.to, page), kind)
        case UseModel() | UseControl():
            if key.may("admin"):
                button("Use this model", partial(choose_alias, connection, step.model), kind)
        case _ if not key.may("train"):
            return
        case AddTestImages() if (job := judged_by_images(report)) is not None:
            button("Judge on other images", partial(ui.navigate.to, f"/jobs/{job}/judge"), kind)
        case _ if options is not None:
            button(_LABELS[type(step)], partial(read_again, connection, report.dataset.id, options), kind)
        case CompareNetworks():
            fields = {"kind": "erm", "dataset": report.dataset.id, **SMALL_NETWORK_TRIAL}
            button("Train a small network", partial(ui.navigate.to, f"/new?{urlencode(fields)}"), kind)
        case TrainMoreSeeds():
            form = f"/new?dataset={report.dataset.id}&seeds={step.seeds}"
            button("Train with more seeds", partial(ui.navigate.to, form), kind)
        case BalanceOverColumn():
            form = f"/new?dataset={report.dataset.id}&groups=labels"
            button(_LABELS[BalanceOverColumn], partial(ui.navigate.to, form), kind)
        case _:
            button("Upload images", partial(ui.navigate.to, "/"), kind)


@notify_on_error
async def read_again(connection: AsyncClient, dataset_id: str, options: Mapping[str, Any]) -> None:
    """Import the data set once more with other options, as a new one, and open its page."""
    dataset = await connection.datasets.from_source(f"dataset:{dataset_id}", options=options)
    ui.navigate.to(f"/datasets/{dataset.id}")
