"""One job, live: its stage, curves and log; cancel, resume, and links to its results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from nicegui import background_tasks, ui

from masktune import AsyncClient, ClientError, Event, Job, OwnKey
from masktune.client.calls import get, pages
from masktune.contract.report.charts import legend, svg
from masktune.contract.report.text import formats
from masktune.contract.vocabulary import STAGE_NAMES, JobKind, stages_of
from web.forms.kinds import FORMS
from web.job_timeline import JobTimeline
from web.shell import ask_and_delete, button, confirm, html, notify_on_error, page, rename, render, set_title
from web.text import labels
from web.transport.connection import api, dataset_name, own_key
from web.transport.errors import error_text

DRAW_SECONDS = 0.7
TAIL = 500
"""The newest events, which are followed; of older ones, those within an epoch are left out."""
RETRY_SECONDS = 3.0
"""Seconds before the page asks an unavailable service for events again, or for the place in the queue."""
Button: TypeAlias = tuple[str, str | Callable[[], Awaitable[None]], str]
"""Its text, the path or function that it leads to, its style."""
REPORTED = ("mitigate", "masktune", "erm", "finetune", "retrain_head", "evaluate")


@page("/jobs/{job_id}", "Job", "/jobs")
async def show(job_id: str) -> None:
    job = await api().jobs.get(job_id)
    view = JobView(api(), job, await dataset_name(api(), job.dataset), own_key())
    view.build()
    following = background_tasks.create(view.follow(), name=f"follow {job.id}")
    ui.context.client.on_delete(following.cancel)


class JobView:
    """The page of one job: events arrive as they happen, and the page is redrawn shortly after."""

    def __init__(self, connection: AsyncClient, job: Job, dataset: str, key: OwnKey) -> None:
        self.connection, self.job, self.dataset, self.key = connection, job, dataset, key
        self.timeline = JobTimeline()
        self.dirty = True
        self.connection_error = ""
        self.delete = partial(ask_and_delete, job.id, "", connection.jobs.delete, "/jobs")

    def build(self) -> None:
        with ui.element("div").classes("title-row"):
            self.title = ui.html(sanitize=False)
            self.actions = ui.element("div").classes("actions")
        self.head = ui.html(sanitize=False)
        self.curves = ui.html(sanitize=False)
        self.log = ui.html(sanitize=False)
        html("job_params", job=self.job)
        self.buttons: list[Button] = []
        self.draw()
        ui.timer(DRAW_SECONDS, self.draw)

    def draw(self) -> None:
        """Redraw everything that may have changed, if anything has."""
        if not self.dirty:
            return
        self.dirty = False
        job, timeline = self.job, self.timeline
        percent = "" if job.ended else f"{formats.percent(float(str(self._progress()['fraction'])), 0)} · "
        set_title(f"{percent}{labels.kind(job.kind)} on {labels.shorten(self.dataset)} · {job.state}")
        self.title.content = render("job_title", job=job, dataset=self.dataset)
        self.head.content = render(
            "job_head",
            job=job,
            stages=stages(job, timeline),
            progress=self._progress(),
            connection_error=self.connection_error,
            description=labels.job_description(job.kind, job.params.model_dump()),
        )
        self.curves.content = render(
            "charts", charts=[svg(chart) + legend(chart) for chart in timeline.charts]
        )
        self.log.content = render("job_log", lines=timeline.log)
        # Only when they change: the question of a pressed button would go with the button.
        if self.buttons != (buttons := list(self._buttons())):
            self.buttons = buttons
            self.actions.clear()
            with self.actions:
                for text, to, style in buttons:
                    button(text, partial(ui.navigate.to, to) if isinstance(to, str) else to, style)

    def _progress(self) -> dict[str, object]:
        """The newest figures: those of an event while the job runs, otherwise those of the job."""
        newest = {} if self.job.ended else self.timeline.progress.model_dump(exclude_unset=True)
        return self.job.progress.model_dump() | newest

    def _buttons(self) -> Iterator[Button]:
        """What the visitor can do now."""
        job = self.job
        if job.state == "succeeded" and job.kind in REPORTED:
            yield "Read the report", f"/jobs/{job.id}/report", ""
        if job.state == "succeeded" and job.kind == "predict":
            yield "Browse the predictions", f"/jobs/{job.id}/predictions", ""
            yield "Download the predictions", f"/files/jobs/{job.id}/predictions", "second"
        if not self.key.may("train"):
            return
        if job.state == "succeeded" and job.kind == "mask":
            yield "Finetune with these masks", f"/new?kind=finetune&mask_set={job.id}", ""
        if not job.ended and job.state != "cancelling":
            yield "Cancel", self.cancel, "danger"
        if labels.can_resume(job):
            yield "Resume", self.resume, ""
        if job.ended and job.kind in FORMS and job.request.get("job") is None:
            yield "Again with other fields", f"/new?like={job.id}", "second"
        yield "Rename", self.rename, "second"
        if job.ended and self.key.may("admin"):
            yield "Delete", self.delete, "danger"

    async def rename(self) -> None:
        await rename(self.job, self.connection.jobs.update)

    async def follow(self) -> None:
        """Process events until the job ends, across restarts of the service: the newest as they happen,
        earlier ones while the page already shows the newest.
        """
        start = max(0, self.job.events - TAIL)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(start))
            tasks.create_task(self._watch_queue())
            if start:
                tasks.create_task(self._read_history(start))

    async def _watch_queue(self) -> None:
        """Ask for the place in the queue: what changes it is no event of this job."""
        while self.job.state == "queued":
            await asyncio.sleep(RETRY_SECONDS)
            with suppress(ClientError):  # `_listen` shows it
                self.job, self.dirty = await self.connection.jobs.get(self.job.id), True

    async def _read_history(self, last: int) -> None:
        """Process the events up to id `last` that are drawn: all but those within an epoch."""
        query = get(f"/jobs/{self.job.id}/events", thin=True, limit=100)
        with suppress(ClientError):  # the page works without it; reloading tries again
            async for event in self.connection.driver.iterate(pages(query, Event)):
                if event.id > last:
                    return
                self.timeline.add(event)
                self.dirty = True

    async def _listen(self, last: int) -> None:
        """Process the events after id `last` as they arrive, each once."""
        while True:
            try:
                async for event in self.connection.jobs.events(self.job.id, after=last):
                    last = event.id
                    self.timeline.add(event)
                    self.connection_error, self.dirty = "", True
                    if event.type in ("state", "stage"):
                        self.job = await self.connection.jobs.get(self.job.id)
                self.job = await self.connection.jobs.get(self.job.id)
                self.connection_error, self.dirty = "", True
                if self.job.ended:
                    return
            except ClientError as error:
                self.connection_error, self.dirty = ". ".join(error_text(error)), True
            await asyncio.sleep(RETRY_SECONDS)

    @notify_on_error
    async def cancel(self) -> None:
        question = "Cancel this job? What it has trained so far is kept, and it can be resumed."
        if await confirm(question, "Cancel the job"):
            self.job = await self.connection.jobs.cancel(self.job.id)
            self.dirty = True

    @notify_on_error
    async def resume(self) -> None:
        self.job = await self.connection.jobs.resume(self.job.id)
        ui.navigate.reload()


def stages(job: Job, timeline: JobTimeline) -> list[tuple[str, str]]:
    """(CSS class, name) of each stage: done, current, or still to come."""
    states = []
    order = stages_of(JobKind(job.kind), job.params.model_dump())
    before = order[: order.index(job.stage)] if job.stage in order else ()
    for stage in order:
        done = stage in timeline.finished or stage in before or job.state == "succeeded"
        state = "done" if done else "now" if stage == job.stage and job.state == "running" else ""
        states.append((state, STAGE_NAMES[stage]))
    return states
