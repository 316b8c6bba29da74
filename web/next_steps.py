"""What a report says to do next, each step with the button that does it."""

from __future__ import annotations

from functools import partial

from nicegui import ui

from masktune import AsyncClient, OwnKey
from masktune.contract.report import Report
from masktune.contract.report.data_steps import DataStep
from masktune.contract.report.recommendation import (
    AddTestImages,
    NextStep,
    ReviewImages,
    UseControl,
    UseModel,
)
from masktune.contract.report.text import next_steps
from masktune.contract.report.text.judged_job import judged_by_images
from web.aliases import choose_alias
from web.data_steps import show_data_step
from web.shell import button, html


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
    if isinstance(step, DataStep):
        show_data_step(connection, step, report, key, kind)
        return
    match step:
        case UseModel() | UseControl():
            if key.may("admin"):
                button("Use this model", partial(choose_alias, connection, step.model), kind)
        case ReviewImages():
            button("Look at them", partial(ui.navigate.to, f"/jobs/{report.job}/review"), kind)
        case AddTestImages() if (job := judged_by_images(report)) is not None:
            if key.may("train"):
                button("Judge on other images", partial(ui.navigate.to, f"/jobs/{job}/judge"), kind)
        case _:
            if key.may("train"):
                button("Upload images", partial(ui.navigate.to, "/"), kind)
