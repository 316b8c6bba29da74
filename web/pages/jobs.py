"""All jobs, newest first."""

from __future__ import annotations

from nicegui import ui

from masktune import ClientError, Job
from web.shell import button, html, page
from web.text import labels
from web.transport.connection import api, dataset_names, own_key
from web.widgets import FilteredList

PER_PAGE = 25
STATES = ("queued", "running", "cancelling", "succeeded", "failed", "cancelled")
REFRESH_SECONDS = 3.0
TABLE_IN_USE = "Boolean(document.activeElement?.closest('table') || document.querySelector('td :checked'))"
"""Whether the keyboard focus is in the table, or a job is chosen: redrawing the table would lose both."""


@page("/jobs", "Jobs")
async def show(dataset: str = "", kind: str = "", state: str = "", q: str = "", since: str = "") -> None:
    names, key = await dataset_names(), own_key()
    with ui.element("div").classes("title-row"):
        html("jobs_title", dataset=dataset, name=labels.shorten(names.get(dataset, "one data set")))
        if key.may("train"):
            button("New job", lambda: ui.navigate.to(f"/new?dataset={dataset}" if dataset else "/new"))
    jobs = JobList(names, {"dataset": dataset} if dataset else {})
    jobs.choose("kind", "Kind", {"": "all kinds"} | {name: labels.kind(name) for name in labels.KINDS}, kind)
    jobs.choose("state", "State", {"": "all states"} | {name: name for name in STATES}, state)
    await jobs.build(q, since)
    ui.timer(REFRESH_SECONDS, jobs.refresh, immediate=False)


class JobList(FilteredList[Job]):
    """The list, refreshed while a job on its first page has not ended."""

    def __init__(self, names: dict[str, str], fixed: dict[str, str]) -> None:
        super().__init__("/jobs", api().jobs.list, self._table, per_page=PER_PAGE, **fixed)
        self.names = names
        self.page: list[Job] = []

    def _table(self, jobs: list[Job]) -> None:
        self.page = jobs
        html("jobs", jobs=jobs, names=self.names, is_filtered=bool(self.choices))

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
