"""All jobs, newest first."""

from __future__ import annotations

from nicegui import ui

from masktune import ClientError, Job
from web.paging import Pager
from web.shell import button, html, notify_on_error, page
from web.text import labels
from web.transport.connection import api, dataset_names, own_key
from web.widgets import select_field, set_query, show_pages

PER_PAGE = 25
STATES = ("queued", "running", "cancelling", "succeeded", "failed", "cancelled")
REFRESH_SECONDS = 3.0
TABLE_IN_USE = "Boolean(document.activeElement?.closest('table') || document.querySelector('td :checked'))"
"""Whether the keyboard focus is in the table, or a job is chosen: redrawing the table would lose both."""


@page("/jobs", "Jobs")
async def show(dataset: str = "", kind: str = "", state: str = "") -> None:
    names, key = await dataset_names(), own_key()
    with ui.element("div").classes("title-row"):
        html("jobs_title", dataset=dataset, name=labels.shorten(names.get(dataset, "one data set")))
        if key.may("train"):
            button("New job", lambda: ui.navigate.to(f"/new?dataset={dataset}" if dataset else "/new"))
    jobs = JobList(names, dataset)
    await jobs.build(kind if kind in labels.KINDS else "", state if state in STATES else "")


class JobList:
    """The list with its two filters; refreshed while a job on its first page has not ended."""

    def __init__(self, names: dict[str, str], dataset: str) -> None:
        self.connection, self.names, self.dataset = api(), names, dataset
        self.page: list[Job] = []

    async def build(self, kind: str, state: str) -> None:
        with ui.element("div").classes("form").style("margin-bottom: 16px; max-width: 560px"):
            kinds = {"": "all kinds"} | {name: labels.kind(name) for name in labels.KINDS}
            states = {"": "all states"} | {name: name for name in STATES}
            self.kind = select_field("Kind", kinds, kind, on_change=notify_on_error(self.filter))
            self.state = select_field("State", states, state, on_change=notify_on_error(self.filter))
        self.holder = ui.element("div")
        await self.draw(await self.newest())
        ui.timer(REFRESH_SECONDS, self.refresh, immediate=False)

    async def newest(self) -> Pager[Job]:
        """The list from its newest job, with its first page read."""
        pager = Pager(
            self.connection.jobs.list(
                kind=self.kind.value or None,
                state=self.state.value or None,
                dataset=self.dataset or None,
                limit=PER_PAGE + 1,
            ),
            PER_PAGE,
        )
        await pager.page()
        return pager

    async def draw(self, pager: Pager[Job]) -> None:
        self.pager = pager
        self.holder.clear()
        with self.holder:
            await show_pages(pager, self._table)

    def _table(self, jobs: list[Job]) -> None:
        self.page = jobs
        is_filtered = bool(self.kind.value or self.state.value or self.dataset)
        html("jobs", jobs=jobs, names=self.names, is_filtered=is_filtered)

    async def filter(self, *_: object) -> None:
        set_query("/jobs", dataset=self.dataset, kind=self.kind.value, state=self.state.value)
        await self.draw(await self.newest())

    async def refresh(self) -> None:
        """Refresh the list, unless the visitor has turned the page or uses the table."""
        pager = self.pager
        if pager.number or all(job.ended for job in self.page):
            return
        try:
            newest = await self.newest()
            if await newest.page() == self.page or await ui.run_javascript(TABLE_IN_USE):
                return
            if self.pager is pager and not pager.number:  # the visitor did nothing in the meantime
                await self.draw(newest)
        except (ClientError, TimeoutError):  # service or browser unavailable: try again next time
            return
