"""One data set: the progress of its import, the shortcuts found, its samples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement

from masktune import Dataset, Job
from web.forms.kinds import MAIN_KIND
from web.next_steps import read_again
from web.paging import Pager, first
from web.shell import ask_and_delete, button, html, notify_on_error, page, rename, set_title
from web.text import labels
from web.transport.connection import api, own_key
from web.widgets import select_field, set_query, show_pages

SAMPLES = 36
"""Samples per page."""
JOBS = 20
"""Most jobs side by side, the newest."""
REFRESH_SECONDS = 1.0
ALL = ""
"""The option that disables a filter."""


@page("/datasets/{dataset_id}", "Data set", "/")
async def show(
    dataset_id: str,
    split: str = "",
    label: str = "",
    group: str = "",
    subject: str = "",
    column: str = "",
    cell: str = "",
    q: str = "",
) -> None:
    filters = {"split": split, "label": label, "group": group, "subject": subject}
    filters |= {"column": column, "cell": cell, "q": q}
    dataset, key = await api().datasets.get(dataset_id), own_key()
    set_title(f"{labels.shorten(dataset.name)} · Data set")
    with ui.element("div").classes("title-row"):
        html("dataset_title", d=dataset)
        with ui.element("div").classes("actions"):
            if dataset.state == "ready":
                if key.may("train") and dataset.splits.get("train"):
                    button(labels.kind(MAIN_KIND), lambda: _start(dataset))
                    button("Other jobs", lambda: ui.navigate.to(f"/new?dataset={dataset.id}"), "second")
                    if dataset.groups:
                        balanced = f"/new?dataset={dataset.id}&groups=labels"
                        button("Balance over its groups", lambda: ui.navigate.to(balanced), "second")
                files = f"/files/datasets/{dataset.id}/download"
                button("Download", lambda: ui.navigate.to(files), "second")
                button("Show jobs", lambda: ui.navigate.to(f"/jobs?dataset={dataset.id}"), "second")
            if key.may("train"):
                button("Rename", lambda: rename(dataset, api().datasets.update, required=True), "second")
            if key.may("admin"):
                button(
                    "Delete",
                    partial(ask_and_delete, dataset.id, f"“{dataset.name}”", api().datasets.delete, "/"),
                    "danger",
                )
    if dataset.state == "importing":
        await _show_import(dataset)
        return
    warnings = [note for note in dataset.report.notes if note.tone == "bad"] if dataset.report else []
    if warnings:
        html("dataset_warning", notes=warnings)
        if dataset.state == "ready" and key.may("train"):
            button("Cut new splits", partial(read_again, api(), dataset.id, {"new_splits": True}))
    html("dataset_report", d=dataset, splits=labels.splits_of(dataset))
    if dataset.state == "ready":
        succeeded = await first(api().jobs.list(dataset=dataset.id, state="succeeded"), JOBS)
        html("dataset_jobs", jobs=[job for job in succeeded if job.metrics])
        await _samples(dataset, filters)


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


async def _samples(dataset: Dataset, filters: Mapping[str, str]) -> None:
    """Show the images page by page; `filters`: what is asked for at first, by its name in the address."""
    heading = ui.html("<h2>Samples</h2>", sanitize=False)
    connection = api()
    fields: dict[str, ValueElement[Any]] = {}
    drawings = 0

    def chosen(name: str) -> str | None:
        """What a field asks for; None if it asks for nothing, or there is no such field."""
        return (fields[name].value or None) if name in fields else None

    async def draw() -> None:
        nonlocal drawings
        drawings += 1
        number = drawings
        column, cell = chosen("column"), chosen("cell")
        samples = connection.datasets.samples(
            dataset.id,
            split=chosen("split"),
            label=chosen("label"),
            group=chosen("group"),
            subject=chosen("subject"),
            metadata={column: cell} if column and cell else None,
            q=chosen("q"),
            limit=SAMPLES + 1,
        )
        pager = Pager(samples, SAMPLES)
        await pager.page()
        if number < drawings:  # another filter was chosen meanwhile
            return
        holder.clear()
        with holder:
            await show_pages(pager, lambda page: html("samples", dataset=dataset.id, samples=page))

    @notify_on_error
    async def redraw(*_: object) -> None:
        set_query(f"/datasets/{dataset.id}", **{name: chosen(name) for name in fields})
        await draw()

    def choose(name: str, label: str, everything: str, options: Mapping[str, str]) -> None:
        initial = filters[name] if filters[name] in options else ALL
        fields[name] = select_field(
            label, {ALL: everything, **options}, initial, on_change=redraw, search=len(options) > 12
        )

    def write(name: str, label: str) -> ui.input:
        text = ui.input(label, value=filters[name], on_change=redraw)
        fields[name] = text.props(f'outlined dense debounce=400 aria-label="{label}"')
        return text

    with ui.element("div").classes("form").style("margin-bottom: 16px"):
        choose("split", "Split", "all splits", {s: labels.SPLITS[s] for s in labels.splits_of(dataset)})
        choose("label", "Class", "all classes", {name: name for name in dataset.classes})
        if dataset.groups:
            choose("group", "Group", "all groups", {group.name: group.name for group in dataset.groups})
        if dataset.subjects:
            write("subject", dataset.subject_word.capitalize())
        if dataset.metadata_columns:
            columns = {column.name: column for column in dataset.metadata_columns}
            choose("column", "Metadata column", "any", {name: name for name in columns})
            cell = write("cell", "Its text or number")
            cell.bind_visibility_from(fields["column"], "value", bool)
        write("q", "Search").props('stack-label placeholder="in path, subject and metadata"')
    holder = ui.element("div")
    await draw()
    if any(filters.values()):  # whoever follows a link to some of the samples wants to see those
        ui.run_javascript(f"getHtmlElement({heading.id}).scrollIntoView()")


@notify_on_error
async def _start(dataset: Dataset) -> None:
    """Start the job for most people, with its defaults, and open its page."""
    job = await api().jobs.start(MAIN_KIND, dataset=dataset.id)
    ui.navigate.to(f"/jobs/{job.id}")
