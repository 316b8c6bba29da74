"""Every job, newest first."""

from __future__ import annotations

from nicegui import ui

from client import Job
from web import words
from web.connection import api
from web.paging import Pager
from web.shell import button, guarded, html, page
from web.widgets import choice, pages_of

PER_PAGE = 25
STATES = ("queued", "running", "cancelling", "succeeded", "failed", "cancelled")


@page("/jobs", "Jobs")
async def show(dataset: str = "") -> None:
    connection = api()
    held = Pager(connection.jobs.list(dataset=dataset or None, limit=PER_PAGE + 1), PER_PAGE)
    await held.page()
    names: dict[str, str] = {}

    async def draw(pager: Pager[Job]) -> None:
        await pager.page()
        holder.clear()
        with holder:
            await pages_of(pager, lambda jobs: html("jobs", jobs=jobs, names=names))

    @guarded
    async def filtered(*_: object) -> None:
        listed = connection.jobs.list(
            kind=kind.value or None,
            state=state.value or None,
            dataset=dataset or None,
            limit=PER_PAGE + 1,
        )
        await draw(Pager(listed, PER_PAGE))

    with ui.element("div").classes("title-row"):
        html("jobs_title", dataset=dataset)
        button("New job", lambda: ui.navigate.to(f"/new?dataset={dataset}"))
    async for found in connection.datasets.list(limit=100):
        names[found.id] = found.name
        if len(names) == 100:  # one page: a name that is missing shows as an id
            break
    with ui.element("div").classes("form").style("margin-bottom: 16px; max-width: 560px"):
        kinds = {"": "every kind"} | {kind: words.kind(kind) for kind in words.KINDS}
        kind = choice("Kind", kinds, "", on_change=filtered)
        state = choice("State", {"": "every state"} | {s: s for s in STATES}, "", on_change=filtered)
    holder = ui.element("div")
    await draw(held)
