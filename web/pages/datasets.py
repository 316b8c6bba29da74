"""The home page: an introduction, an upload area for archives, and all data sets."""

from __future__ import annotations

from nicegui import ui

from masktune import Dataset
from web.paging import Pager
from web.shell import button, guarded, html, page
from web.transport.connection import api, own_key
from web.transport.uploads import largest
from web.widgets import pages_of

PER_PAGE = 20
BUILTIN = "builtin:biased-digits"


@page("/", "Data sets")
async def show() -> None:
    found = Pager(api().datasets.list(limit=PER_PAGE + 1), PER_PAGE)
    first = await found.page()  # before drawing, so that an unavailable service shows a single message
    own = await own_key(api())
    html("home", largest=await largest(api()), own=own)
    ui.html("<h2>Your data sets</h2>", sanitize=False)
    if first:
        await pages_of(found, _table)
        return
    with ui.element("div").classes("empty"):
        html("no_dataset", own=own)
        if own.may("train"):
            button("Try a built-in data set", _builtin, "second")


def _table(datasets: list[Dataset]) -> None:
    html("datasets", datasets=datasets)


@guarded
async def _builtin() -> None:
    made = await api().datasets.from_source(BUILTIN, name="digits with a square")
    ui.navigate.to(f"/datasets/{made.id}")
