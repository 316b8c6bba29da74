"""Test images for the models of a job: upload them, say what they are, and start the job that judges."""

from __future__ import annotations

from functools import partial
from typing import Any

from nicegui import events, ui

from masktune import AsyncClient, Dataset, Job
from masktune.contract.report.text.judged_job import BREAKS_PATTERN
from web.paging import first
from web.shell import button, html, notify_on_error, page, set_title
from web.text import labels
from web.transport.connection import api, missing_scope, own_key
from web.widgets import select_field

LISTED = 200
"""The newest data sets, of which those of test images alone are offered."""
REFRESH_SECONDS = 0.5


@page("/jobs/{job_id}/judge", "Judge on other images", "/jobs")
async def show(job_id: str) -> None:
    connection = api()
    job, report = await connection.jobs.get(job_id), await connection.jobs.report(job_id)
    set_title(f"{labels.shorten(report.dataset.name)} · Judge on other images")
    key = own_key()
    largest = (await connection.limits()).max_upload_bytes if key.may("train") else 0
    html("judge", job=job, classes=report.dataset.classes, largest=largest, key=key)
    if not key.may("train"):
        html("notice", tone="", text=missing_scope(key, "train"))
        return
    listed = await first(connection.datasets.list(limit=100), LISTED)
    form = JudgeForm(connection, job, [one for one in listed if only_test(one)])
    form.build()
    ui.on("masktune-uploaded", form.use_uploaded)


def only_test(dataset: Dataset) -> bool:
    """Whether these are test images alone, ready to judge models."""
    return dataset.state == "ready" and dataset.labelled and not dataset.splits.get("train")


class JudgeForm:
    """Which images, and what whoever brings them says of them."""

    def __init__(self, connection: AsyncClient, job: Job, datasets: list[Dataset]) -> None:
        self.connection, self.job = connection, job
        self.names = {one.id: one.name for one in datasets}

    def build(self) -> None:
        self.importing = ui.element("div").props("aria-live=polite")
        with ui.element("div").classes("card"):
            self.dataset = select_field("Test images", self.names, next(iter(self.names), None))
            self.breaks_pattern = ui.switch(BREAKS_PATTERN)
            html("judge_hint")
            button("Judge the models", self.start)

    @notify_on_error
    async def use_uploaded(self, event: events.GenericEventArguments) -> None:
        """Choose the uploaded data set once its import has ended."""
        answer: dict[str, Any] = event.args
        refresh = notify_on_error(partial(self._refresh, str(answer["id"])))
        self.timer = ui.timer(REFRESH_SECONDS, refresh)

    async def _refresh(self, dataset_id: str) -> None:
        dataset = await self.connection.datasets.get(dataset_id)
        self.importing.clear()
        if dataset.state == "importing":
            job = await self.connection.jobs.get(dataset.job) if dataset.job else None
            with self.importing:
                html("importing", job=job)
            return
        self.timer.deactivate()
        if dataset.state != "ready":
            ui.navigate.to(f"/datasets/{dataset_id}")  # which says what is wrong with it
            return
        self.names[dataset_id] = dataset.name
        self.dataset.set_options(self.names, value=dataset_id)

    @notify_on_error
    async def start(self) -> None:
        if self.dataset.value is None:
            ui.notify("Upload test images first.", type="warning")
            return
        judging = await self.connection.jobs.evaluate(
            self.job.id, self.dataset.value, breaks_pattern=self.breaks_pattern.value
        )
        ui.navigate.to(f"/jobs/{judging.id}")
