"""One data set: the progress of its import, the shortcuts found, its samples."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from nicegui import ui

from masktune import Dataset, Job, Sample
from masktune.client.calls import metadata_query
from web.forms.kinds import MAIN_KIND
from web.next_steps import read_again
from web.paging import first
from web.shell import ask_and_delete, button, html, notify_on_error, page, rename, set_title
from web.text import labels
from web.transport.connection import api, own_key
from web.widgets import FilteredList

SAMPLES = 36
"""Samples per page."""
JOBS = 20
"""Most jobs side by side, the newest."""
REFRESH_SECONDS = 1.0
ALL = ""
"""The option that disables a filter."""
PATTERN_FILTERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "pattern": ("Shows the pattern of", "any class", {}),
    "lacks_pattern": ("Pattern of its class", "any", {"true": "lacks it", "false": "shows it"}),
    "label_looks_wrong": ("Label", "any", {"true": "looks wrong", "false": "does not look wrong"}),
}
"""What goes by the patterns that a job has inferred: a title, the option that filters nothing, the others or
none for the classes."""


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
    inferred_by: str = "",
    pattern: str = "",
    lacks_pattern: str = "",
    label_looks_wrong: str = "",
) -> None:
    filters = {
        "split": split,
        "label": label,
        "group": group,
        "subject": subject,
        "column": column,
        "cell": cell,
        "q": q,
        "inferred_by": inferred_by,
        "pattern": pattern,
        "lacks_pattern": lacks_pattern,
        "label_looks_wrong": label_looks_wrong,
    }
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
                if key.may("train") and not dataset.labelled:
                    predict = f"/new?dataset={dataset.id}&kind=predict"
                    button("Predict the images", lambda: ui.navigate.to(predict))
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
        await _samples(dataset, filters, [job.id for job in succeeded if "samples" in job.links])


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


async def _samples(dataset: Dataset, filters: Mapping[str, str], inferring: Sequence[str]) -> None:
    """Show the images page by page; `filters`: what is asked for at first, by its name in the address;
    `inferring`: ids of the jobs that have inferred patterns."""
    heading = ui.html("<h2>Samples</h2>", sanitize=False)
    connection = api()

    def filters_of(column: str = "", cell: str = "", **others: Any) -> dict[str, Any]:
        """The filters of the client, by the fields of this list."""
        if "inferred_by" not in others:  # these go by what it has inferred
            others = {name: choice for name, choice in others.items() if name not in PATTERN_FILTERS}
        return others | {"metadata": {column: cell} if column and cell else None}

    def samples(**choices: Any) -> AsyncIterator[Sample]:
        return connection.datasets.samples(dataset.id, **filters_of(**choices))

    def draw(page: list[Sample]) -> None:
        query = filters_of(**sample_list.choices)
        query |= metadata_query(query.pop("metadata"))
        html("samples", dataset=dataset.id, samples=page, query=query)

    sample_list = FilteredList(f"/datasets/{dataset.id}", samples, draw, per_page=SAMPLES)

    def choose(name: str, label: str, everything: str, options: Mapping[str, str]) -> None:
        sample_list.choose(name, label, {ALL: everything, **options}, filters[name])

    if dataset.labelled:
        choose("split", "Split", "all splits", {s: labels.SPLITS[s] for s in labels.splits_of(dataset)})
        choose("label", "Class", "all classes", {name: name for name in dataset.classes})
    if dataset.groups:
        choose("group", "Group", "all groups", {group.name: group.name for group in dataset.groups})
    if dataset.subjects:
        sample_list.write("subject", dataset.subject_word.capitalize(), filters["subject"])
    if dataset.metadata_columns:
        choose("column", "Metadata column", "any", {one.name: one.name for one in dataset.metadata_columns})
        cell = sample_list.write("cell", "Its text or number", filters["cell"])
        cell.bind_visibility_from(sample_list.fields["column"], "value", bool)
    if jobs := [*filter(None, dict.fromkeys([*inferring, filters["inferred_by"]]))]:
        choose("inferred_by", "Patterns", "none", {job: f"inferred by {job}" for job in jobs})
        for name, (title, everything, options) in PATTERN_FILTERS.items():
            choose(name, title, everything, options or {one: one for one in dataset.classes})
            field = sample_list.fields[name]
            field.bind_visibility_from(sample_list.fields["inferred_by"], "value", bool)
    sample_list.write("q", "Search", filters["q"], placeholder="in path, subject and metadata")
    await sample_list.show()
    if any(filters.values()):  # whoever follows a link to some of the samples wants to see those
        ui.run_javascript(f"getHtmlElement({heading.id}).scrollIntoView()")


@notify_on_error
async def _start(dataset: Dataset) -> None:
    """Start the job for most people, with its defaults, and open its page."""
    job = await api().jobs.start(MAIN_KIND, dataset=dataset.id)
    ui.navigate.to(f"/jobs/{job.id}")
