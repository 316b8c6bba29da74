"""All jobs, newest first."""

from __future__ import annotations

from nicegui import ui

from masktune import ClientError, Job
from web.paging import Pager
from web.shell import button, guarded, html, page
from web.text import labels as words
from web.transport.connection import api, dataset_names, own_key
from web.widgets import choice, pages_of, remember

PER_PAGE = 25
STATES = ("queued", "running", "cancelling", "succeeded", "failed", "cancelled")
LOOK_SECONDS = 3.0
AT_THE_TABLE = "Boolean(document.activeElement?.closest('table'))"
"""Whether the keyboard focus is in the table: redrawing it would lose the focus."""


@page("/jobs", "Jobs")
async def show(dataset: str = "", kind: str = "", state: str = "") -> None:
    names, own = await dataset_names(), await own_key(api())
    with ui.element("div").classes("title-row"):
        html("jobs_title", dataset=dataset, name=words.cut(names.get(dataset, "one data set")))
        if own.may("train"):
            button("New job", lambda: ui.navigate.to(f"/new?dataset={dataset}" if dataset else "/new"))
    view = View(names, dataset)
    await view.build(kind if kind in words.KINDS else "", state if state in STATES else "")


class View:
    """The list with its two filters; refreshed while a job on its first page has not ended."""

    def __init__(self, names: dict[str, str], dataset: str) -> None:
        self.connection, self.names, self.dataset = api(), names, dataset
        self.shown: list[Job] = []

    async def build(self, kind: str, state: str) -> None:
        with ui.element("div").classes("form").style("margin-bottom: 16px; max-width: 560px"):
            kinds = {"": "all kinds"} | {name: words.kind(name) for name in words.KINDS}
            states = {"": "all states"} | {name: name for name in STATES}
            self.kind = choice("Kind", kinds, kind, on_change=guarded(self.filtered))
            self.state = choice("State", states, state, on_change=guarded(self.filtered))
        self.holder = ui.element("div")
        await self.draw(await self.listed())
        ui.timer(LOOK_SECONDS, self.look, immediate=False)

    async def listed(self) -> Pager[Job]:
        """The list from its newest job, with its first page read."""
        found = Pager(
            self.connection.jobs.list(
                kind=self.kind.value or None,
                state=self.state.value or None,
                dataset=self.dataset or None,
                limit=PER_PAGE + 1,
            ),
            PER_PAGE,
        )
        await found.page()
        return found

    async def draw(self, pager: Pager[Job]) -> None:
        self.pager = pager
        self.holder.clear()
        with self.holder:
            await pages_of(pager, self._table)

    def _table(self, jobs: list[Job]) -> None:
        self.shown = jobs
        html(
            "jobs", jobs=jobs, names=self.names, all=not (self.kind.value or self.state.value or self.dataset)
        )

    async def filtered(self, *_: object) -> None:
        remember("/jobs", dataset=self.dataset, kind=self.kind.value, state=self.state.value)
        await self.draw(await self.listed())

    async def look(self) -> None:
        """Refresh the list, unless the visitor has turned the page or has the focus in the table."""
        pager = self.pager
        if pager.number or all(job.ended for job in self.shown):
            return
        try:
            seen = await self.listed()
            if await seen.page() == self.shown or await ui.run_javascript(AT_THE_TABLE):
                return
            if self.pager is pager and not pager.number:  # the visitor did nothing in the meantime
                await self.draw(seen)
        except (ClientError, TimeoutError):  # service or browser unavailable: try again next time
            return
