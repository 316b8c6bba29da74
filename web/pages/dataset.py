"""One data set: the progress of its import, the shortcuts found, its samples."""

from __future__ import annotations

from nicegui import ui

from masktune import Dataset, Job, Sample
from web.paging import Pager
from web.shell import button, confirmed, guarded, html, page, titled
from web.text import labels as words
from web.transport.connection import api, own_key
from web.widgets import choice, pages_of, remember

SAMPLES = 36
"""Samples per page."""
LOOK_SECONDS = 1.0
EVERY = ""
"""The option that disables a filter."""


@page("/datasets/{dataset_id}", "Data set", "/")
async def show(dataset_id: str, split: str = "", label: str = "", group: str = "") -> None:
    found, own = await api().datasets.get(dataset_id), await own_key(api())
    titled(f"{words.cut(found.name)} · Data set")
    with ui.element("div").classes("title-row"):
        html("dataset_title", d=found)
        with ui.element("div").classes("actions"):
            if found.state == "ready":
                if own.may("train"):
                    button("Train a model", lambda: ui.navigate.to(f"/new?dataset={found.id}"))
                button("Show jobs", lambda: ui.navigate.to(f"/jobs?dataset={found.id}"), "second")
            if own.may("admin"):
                button("Delete", lambda: _delete(found), "danger")
    if found.state == "importing":
        await _growing(found)
        return
    html("dataset_report", d=found, splits=words.splits_of(found))
    if found.state == "ready":
        await _samples(found, split, label, group)


async def _growing(dataset: Dataset) -> None:
    """Show the import's progress; reload the page when it has ended."""
    job = dataset.job
    holder = ui.element("div").props("aria-live=polite")
    connection = api()

    @guarded
    async def look() -> None:
        seen = await connection.datasets.get(dataset.id)
        if seen.state != "importing":
            timer.deactivate()
            ui.navigate.reload()
            return
        importing: Job | None = await connection.jobs.get(job) if job else None
        holder.clear()
        with holder:
            html("importing", job=importing)

    timer = ui.timer(LOOK_SECONDS, look)
    await look()


async def _samples(dataset: Dataset, *chosen: str) -> None:
    """Show the images, filtered by split, class and group, page by page; `chosen`: the initial filters."""
    ui.html("<h2>Samples</h2>", sanitize=False)
    splits = {EVERY: "all splits"} | {s: words.SPLITS[s] for s in words.splits_of(dataset)}
    labels = {EVERY: "all classes"} | {name: name for name in dataset.classes}
    groups = {EVERY: "all groups"} | {group.name: group.name for group in dataset.groups}
    connection = api()

    async def draw() -> None:
        listed = connection.datasets.samples(
            dataset.id,
            split=split.value or None,
            label=label.value or None,
            group=(group.value or None) if group else None,
            limit=SAMPLES + 1,
        )
        pager = Pager(listed, SAMPLES)
        await pager.page()
        holder.clear()
        with holder:
            await pages_of(pager, lambda samples: _grid(dataset, samples))

    @guarded
    async def redraw(*_: object) -> None:
        by = {"split": split.value, "label": label.value, "group": group.value if group else ""}
        remember(f"/datasets/{dataset.id}", **by)
        await draw()

    at_first = [
        name if name in known else EVERY for name, known in zip(chosen, (splits, labels, groups), strict=True)
    ]
    with ui.element("div").classes("form").style("margin-bottom: 16px"):
        split = choice("Split", splits, at_first[0], on_change=redraw)
        label = choice("Class", labels, at_first[1], on_change=redraw, search=len(labels) > 12)
        group = choice("Group", groups, at_first[2], on_change=redraw) if dataset.groups else None
    holder = ui.element("div")
    await draw()


def _grid(dataset: Dataset, samples: list[Sample]) -> None:
    html("samples", dataset=dataset.id, samples=samples)


@guarded
async def _delete(dataset: Dataset) -> None:
    if await confirmed(f"Delete “{dataset.name}” and its images? This cannot be undone.", "Delete it"):
        await api().datasets.delete(dataset.id)
        ui.navigate.to("/")
