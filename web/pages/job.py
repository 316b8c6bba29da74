"""One job, live: its stage, curves and log; cancel, resume, and links to its results."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

from nicegui import background_tasks, ui

from masktune import AsyncClient, ClientError, Job, OwnKey, ProblemError
from masktune.contract.stages import STAGES
from web.charts import svg
from web.forms.kinds import FORMS
from web.history import Fetch, beginning, fetching, past
from web.job_timeline import Story
from web.shell import button, confirmed, guarded, html, page, rendered, titled, told
from web.text import labels as words
from web.transport.connection import api, own_key

DRAW_SECONDS = 0.7
BREATH = 200
"""Events of a long history processed before yielding to other pages."""
AWAY_SECONDS = 3.0
"""Seconds before the page asks an unavailable service for events again."""
REPORTED = ("masktune", "erm", "finetune", "retrain_head", "evaluate")


@page("/jobs/{job_id}", "Job", "/jobs")
async def show(job_id: str) -> None:
    job = await api().jobs.get(job_id)
    view = View(api(), job, await _name(api(), job), await own_key(api()))
    view.build()
    following = background_tasks.create(view.follow(), name=f"follow {job.id}")
    ui.context.client.on_delete(following.cancel)


async def _name(connection: AsyncClient, job: Job) -> str:
    """The name of the job's data set, which may have been deleted."""
    if job.dataset is None:
        return ""
    try:
        return (await connection.datasets.get(job.dataset)).name
    except ProblemError:
        return "a deleted data set"


class View:
    """The page of one job: events arrive as they happen, and the page is redrawn shortly after."""

    def __init__(self, connection: AsyncClient, job: Job, dataset: str, own: OwnKey) -> None:
        self.connection, self.job, self.dataset, self.own = connection, job, dataset, own
        self.story = Story()
        self.dirty = True
        self.away = ""

    def build(self) -> None:
        with ui.element("div").classes("title-row"):
            self.title = ui.html(sanitize=False)
            self.actions = ui.element("div").classes("actions")
        self.head = ui.html(sanitize=False)
        self.curves = ui.html(sanitize=False)
        self.log = ui.html(sanitize=False)
        html("job_params", job=self.job)
        self.drawn_for: tuple[str, bool] | None = None
        self.draw()
        ui.timer(DRAW_SECONDS, self.draw)

    def draw(self) -> None:
        """Redraw everything that may have changed, if anything has."""
        if not self.dirty:
            return
        self.dirty = False
        job, story = self.job, self.story
        percent = "" if job.ended else f"{words.percent(float(str(self._progress()['fraction'])), 0)} · "
        titled(f"{percent}{words.kind(job.kind)} on {words.cut(self.dataset)} · {job.state}")
        self.title.content = rendered("job_title", job=job, dataset=self.dataset)
        self.head.content = rendered(
            "job_head",
            job=job,
            stages=stages(job, story),
            progress=self._progress(),
            away=self.away,
            asked=words.asked(job.kind, job.params.model_dump()),
        )
        self.curves.content = rendered("charts", charts=[svg(chart) for chart in story.charts])
        self.log.content = rendered("job_log", lines=story.log, skipped=story.skipped)
        if self.drawn_for != (job.state, bool(job.models)):
            self.drawn_for = (job.state, bool(job.models))
            self.actions.clear()
            with self.actions:
                self._buttons()

    def _progress(self) -> dict[str, object]:
        """The newest figures: those of an event while the job runs, otherwise those of the job."""
        newest = {} if self.job.ended else self.story.progress.model_dump(exclude_unset=True)
        return self.job.progress.model_dump() | newest

    def _buttons(self) -> None:
        job = self.job
        if job.state == "succeeded" and job.kind in REPORTED:
            button("Read the report", lambda: ui.navigate.to(f"/jobs/{job.id}/report"))
        if job.state == "succeeded" and job.kind == "predict":
            button("Download the predictions", lambda: ui.navigate.to(f"/files/jobs/{job.id}/predictions"))
        if not self.own.may("train"):
            return
        if job.state == "succeeded" and job.kind == "mask":
            button(
                "Finetune with these masks", lambda: ui.navigate.to(f"/new?kind=finetune&mask_set={job.id}")
            )
        if not job.ended and job.state != "cancelling":
            button("Cancel", self.cancel, "danger")
        if job.state in ("failed", "cancelled"):
            button("Resume", self.resume)
            if job.kind in FORMS:
                button(
                    "Edit as a new job", lambda: ui.navigate.to(f"/new?{urlencode(self._again())}"), "second"
                )

    def _again(self) -> dict[str, str]:
        """The values that the form of a new job of this kind starts with."""
        job = self.job
        asked = {"dataset": job.dataset, **job.inputs.model_dump(include={"model", "mask_set"})}
        return {"kind": job.kind} | {name: str(value) for name, value in asked.items() if value}

    async def follow(self) -> None:
        """Process every event until the job ends, across restarts of the service. Of a long history, only
        what is drawn is read.
        """
        fetch = fetching(self.connection, self.job.id)
        self.story.skipped = start = beginning(self.job.events)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(start))
            if start:
                tasks.create_task(self._look_back(fetch, start))

    async def _look_back(self, fetch: Fetch, upto: int) -> None:
        """Fill in the history while the page already shows the newest events."""
        try:
            async for events in past(fetch, upto):
                for event in events:
                    self.story.add(event)
                self.dirty = True
        except ClientError:  # the page works without it; reloading tries again
            return

    async def _listen(self, last: int) -> None:
        """Process the events after id `last` as they arrive, each once."""
        while True:
            try:
                async for event in self.connection.jobs.events(self.job.id, after=last):
                    last = event.id
                    self.story.add(event)
                    self.away, self.dirty = "", True
                    if event.id % BREATH == 0:
                        await asyncio.sleep(0)
                    if event.type in ("state", "stage"):
                        self.job = await self.connection.jobs.get(self.job.id)
                self.job = await self.connection.jobs.get(self.job.id)
                self.away, self.dirty = "", True
                if self.job.ended:
                    return
            except ClientError as error:
                self.away, self.dirty = ". ".join(told(error)), True
            await asyncio.sleep(AWAY_SECONDS)

    async def cancel(self) -> None:
        if await confirmed(
            "Cancel this job? What it has trained so far is kept, and it can be resumed.", "Cancel the job"
        ):
            await guarded(self._cancel)()

    async def _cancel(self) -> None:
        self.job = await self.connection.jobs.cancel(self.job.id)
        self.dirty = True

    async def resume(self) -> None:
        await guarded(self._resume)()

    async def _resume(self) -> None:
        self.job = await self.connection.jobs.resume(self.job.id)
        ui.navigate.reload()


def stages(job: Job, story: Story) -> list[tuple[str, str, str]]:
    """(name, CSS class, words) of each stage: done, current, or still to come."""
    found = []
    order = words.STAGES_OF.get(job.kind, ())
    before = order[: order.index(job.stage)] if job.stage in order else ()
    for stage in order:
        done = stage in story.finished or stage in before or job.state == "succeeded"
        state = "done" if done else "now" if stage == job.stage and job.state == "running" else ""
        found.append((stage, state, STAGES[stage]))
    return found
