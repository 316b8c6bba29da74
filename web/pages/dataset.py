"""One data set: the progress of its import, the shortcuts found, its samples."""

from __future__ import annotations

from nicegui import ui

from masktune import Dataset, Job
from masktune.contract.models import SplitMetrics
from masktune.contract.report.text.names import in_order
from masktune.contract.vocabulary import Arm
from web.forms.kinds import MAIN_KIND
from web.paging import Pager, first
from web.shell import button, confirm, html, notify_on_error, page, set_title
from web.text import labels
from web.transport.connection import api
from web.widgets import select_field, set_query, show_pages

SAMPLES = 36
"""Samples per page."""
JOBS = 20
"""Most jobs side by side, the newest."""
REFRESH_SECONDS = 1.0
ALL = ""
"""The option that disables a filter."""


@page("/datasets/{dataset_id}", "Data set", "/")
async def show(dataset_id: str, split: str = "", label: str = "", group: str = "") -> None:
    dataset, key = await api().datasets.get(dataset_id), await api().keys.whoami()
    set_title(f"{labels.shorten(dataset.name)} · Data set")
    with ui.element("div").classes("title-row"):
        html("dataset_title", d=dataset)
        with ui.element("div").classes("actions"):
            if dataset.state == "ready":
                if key.may("train"):
                    button(labels.kind(MAIN_KIND), lambda: _start(dataset))
                    button("Other jobs", lambda: ui.navigate.to(f"/new?dataset={dataset.id}"), "second")
                button("Show jobs", lambda: ui.navigate.to(f"/jobs?dataset={dataset.id}"), "second")
            if key.may("admin"):
                button("Delete", lambda: _delete(dataset), "danger")
    if dataset.state == "importing":
        await _show_import(dataset)
        return
    html("dataset_report", d=dataset, splits=labels.splits_of(dataset))
    if dataset.state == "ready":
        succeeded = await first(api().jobs.list(dataset=dataset.id, state="succeeded"), JOBS)
        html("dataset_jobs", jobs=[(job, *figures(job)) for job in succeeded if job.metrics])
        await _samples(dataset, split, label, group)


def figures(job: Job) -> tuple[Arm, SplitMetrics]:
    """The model that the job is about, and its figures on the test split."""
    arm = job.verdict.a if job.verdict else in_order(map(Arm, job.metrics))[0]
    return arm, job.metrics[arm].get("test", SplitMetrics())


async def _show_import(dataset: Dataset) -> None:
    """Show the import's progress; reload the page when it has ended."""
    job = dataset.job
    holder = ui.element("div").props("aria-live=polite")
    connection = api()

    @notify_on_error
    async def refresh() -> None:
        current = await connection.datasets.get(dataset.id)
        if current.state != "importing":
            timer.deactivate()
            ui.navigate.reload()
            return
        importing: Job | None = await connection.jobs.get(job) if job else None
        holder.clear()
        with holder:
            html("importing", job=importing)

    timer = ui.timer(REFRESH_SECONDS, refresh)
    await refresh()


async def _samples(dataset: Dataset, *filters: str) -> None:
    """Show the images page by page; `filters`: the initial split, class and group."""
    ui.html("<h2>Samples</h2>", sanitize=False)
    splits = {ALL: "all splits"} | {s: labels.SPLITS[s] for s in labels.splits_of(dataset)}
    classes = {ALL: "all classes"} | {name: name for name in dataset.classes}
    groups = {ALL: "all groups"} | {group.name: group.name for group in dataset.groups}
    connection = api()

    async def draw() -> None:
        samples = connection.datasets.samples(
            dataset.id,
            split=split.value or None,
            label=label.value or None,
            group=(group.value or None) if group else None,
            limit=SAMPLES + 1,
        )
        pager = Pager(samples, SAMPLES)
        await pager.page()
        holder.clear()
        with holder:
            await show_pages(pager, lambda page: html("samples", dataset=dataset.id, samples=page))

    @notify_on_error
    async def redraw(*_: object) -> None:
        chosen = {"split": split.value, "label": label.value, "group": group.value if group else ""}
        set_query(f"/datasets/{dataset.id}", **chosen)
        await draw()

    initial = [
        name if name in options else ALL
        for name, options in zip(filters, (splits, classes, groups), strict=True)
    ]
    with ui.element("div").classes("form").style("margin-bottom: 16px"):
        split = select_field("Split", splits, initial[0], on_change=redraw)
        label = select_field("Class", classes, initial[1], on_change=redraw, search=len(classes) > 12)
        group = select_field("Group", groups, initial[2], on_change=redraw) if dataset.groups else None
    holder = ui.element("div")
    await draw()


@notify_on_error
async def _start(dataset: Dataset) -> None:
    """Start the job for most people, with its defaults, and open its page."""
    job = await api().jobs.start(MAIN_KIND, dataset=dataset.id)
    ui.navigate.to(f"/jobs/{job.id}")


@notify_on_error
async def _delete(dataset: Dataset) -> None:
    if await confirm(f"Delete “{dataset.name}” and its images? This cannot be undone.", "Delete it"):
        await api().datasets.delete(dataset.id)
        ui.navigate.to("/")
