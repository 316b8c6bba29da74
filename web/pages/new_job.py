"""A new job: its kind, what it starts from, and optional fields."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from nicegui import ui

from masktune import AsyncClient, ClientError, FieldError, Job, ProblemError
from web.forms.estimate import Measured, estimate, measured
from web.forms.fields import Field, Fields, Stock
from web.forms.kinds import FORMS
from web.paging import first
from web.shell import button, guarded, html, page, told
from web.text import labels as words
from web.transport.connection import api, lacking, own_key
from web.widgets import choice

LOOKED_AT = 8
"""Most earlier trainings whose reports are read for their durations."""
EARLY = datetime.min.replace(tzinfo=UTC)
LISTED = 200
"""The newest data sets, models and mask sets, offered as choices."""
FAULT_FIELDS = {"model-of-another-dataset": "/dataset", "dataset-not-ready": "/dataset"}
"""The fields at which problems that name no field are shown."""


@page("/new", "New job", "/jobs")
async def show(dataset: str = "", model: str = "", mask_set: str = "", kind: str = "masktune") -> None:
    connection = api()
    own = await own_key(connection)
    if not own.may("train"):
        html("new_job_title")
        html("notice", tone="unsure", text=lacking(own, "train"))
        return
    datasets = {
        d.id: d for d in await first(connection.datasets.list(limit=100), LISTED) if d.state == "ready"
    }
    if dataset and dataset not in datasets:
        chosen = await connection.datasets.get(dataset)
        datasets[chosen.id] = chosen
    models = await first(connection.models.list(limit=100), LISTED)
    if model and all(m.id != model for m in models):
        models.append(await connection.models.get(model))
    stock = Stock(
        datasets,
        models,
        await first(connection.jobs.list(kind="mask", state="succeeded", limit=100), LISTED),
        {preset.name: preset async for preset in connection.jobs.presets()},
    )
    html("new_job_title")
    if not datasets:
        html("nothing_to_train")
        return
    form = Form(connection, stock, await _earlier(connection))
    asked = {"/dataset": dataset, "/model": model, "/mask_set": mask_set}
    form.build(kind if kind in FORMS else "masktune", {at: value for at, value in asked.items() if value})
    await form.told()


class Form:
    """The kind, its fields, and the resulting cost estimate."""

    def __init__(self, connection: AsyncClient, stock: Stock, earlier: list[Measured]) -> None:
        self.connection, self.stock, self.earlier = connection, stock, earlier
        self.carried: dict[str, Any] = {}
        """Field values of the kinds viewed so far, by pointer."""
        self.sides: dict[str, int | None] = {}

    def build(self, kind: str, asked: Mapping[str, Any]) -> None:
        self.carried.update(asked)
        self.changed = guarded(lambda *_: self.told())
        with ui.element("div").classes("split"):
            with ui.element("div").classes("card"):
                kinds = {name: words.kind(name) for name in FORMS}
                self.kind = choice("What to do", kinds, kind, on_change=guarded(self.another))
                self.says = ui.label().classes("quiet small").style("margin: 10px 0 16px")
                self.holder = ui.element("div")
            with ui.element("div"):
                # Above the cost, whose height varies with the fields: a button must not move during a click.
                self.wrong = ui.element("div").props("role=alert")
                self.go = button("Start the job", self.start)
                self.cost = ui.element("div").props("aria-live=polite").style("margin-top: 16px")
        self.fields = self._fields()

    def _fields(self) -> Fields:
        with self.holder:
            return FORMS[str(self.kind.value)](self.stock, self.carried, self.changed)

    async def another(self, *_: object) -> None:
        """Switch to another kind, keeping the values of fields that both kinds have."""
        self.carried.update(self.fields.values())
        self.wrong.clear()
        self.holder.clear()
        self.fields = self._fields()
        await self.told()

    async def told(self) -> None:
        """Describe the chosen kind and estimate its cost."""
        self.says.text = words.KINDS[str(self.kind.value)][1]
        plan, dataset = self.fields.plan(), self.fields.dataset()
        if plan is None or dataset is None:
            self.cost.clear()
            return
        plan = replace(plan, side=await self._side(dataset.id))
        self.cost.clear()
        with self.cost:
            html("cost", estimate=estimate(plan, self.earlier), plan=plan)

    async def _side(self, dataset: str) -> int | None:
        """The longer side of the data set's first image in pixels, for the guess."""
        if dataset not in self.sides:
            self.sides[dataset] = None
            async for sample in self.connection.datasets.samples(dataset, limit=1):
                self.sides[dataset] = max(sample.width or 0, sample.height or 0) or None
                break
        return self.sides[dataset]

    async def start(self) -> None:
        """Start the job and open its page. Errors stay beside their fields until these change."""
        if not self.go.enabled:  # a second click, sent before the page was updated
            return
        self.wrong.clear()
        faults = self.fields.faults()
        if faults:
            self._refused("Some fields are missing or invalid", faults)
            return
        self.go.disable()
        try:
            job = await self.connection.jobs.start(str(self.kind.value), **self.fields.sent())
        except ProblemError as error:
            title, detail = told(error)
            at = FAULT_FIELDS.get(error.code, "")
            self._refused(title, error.errors or (FieldError(at, error.code, detail),))
            return
        except ClientError as error:
            title, detail = told(error)
            self._refused(title, (FieldError("", "", detail),))
            return
        ui.navigate.to(f"/jobs/{job.id}")

    def _refused(self, title: str, faults: Any) -> None:
        self.go.enable()
        marked, others = self.fields.mark(faults)
        beside = f"See {', '.join(field.label for field in marked)}." if marked else ""
        said = [f"{fault.pointer}: {fault.detail}" if fault.pointer else fault.detail for fault in others]
        with self.wrong:
            html("refused", title=title, detail=" ".join([beside, "; ".join(said)]).strip())
        _shown(marked)


def _shown(fields: list[Field]) -> None:
    """Unfold the marked fields and scroll to the first."""
    ids = [field.element.html_id for field in fields]
    ui.run_javascript(
        f"const wrong = {ids}.map((id) => document.getElementById(id)).filter(Boolean);"
        "for (const one of wrong) one.closest('details')?.setAttribute('open', '');"
        "wrong[0]?.scrollIntoView({block: 'nearest'});"
    )


async def _earlier(connection: AsyncClient) -> list[Measured]:
    """Measurements of the newest finished trainings, skipping those whose report cannot be read."""

    async def of(job: Job) -> Measured | None:
        try:
            report = await connection.jobs.report(job.id)
        except ClientError:
            return None
        return measured(job.id, job.params.model_dump(), report.cost)

    jobs: list[Job] = []
    for kind in ("masktune", "erm"):
        jobs += await first(connection.jobs.list(kind=kind, state="succeeded", limit=LOOKED_AT), LOOKED_AT)
    jobs.sort(key=lambda job: job.created_at or EARLY, reverse=True)
    # Concurrently: sequential requests took most of the page's loading time.
    return [found for found in await asyncio.gather(*map(of, jobs[:LOOKED_AT])) if found is not None]
