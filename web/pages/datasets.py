"""The home page: an introduction, an upload area for archives, and all data sets."""

from __future__ import annotations

from nicegui import ui

from web.forms import upload
from web.paging import Pager
from web.shell import button, html, notify_on_error, page
from web.transport.connection import api, own_key
from web.widgets import show_pages

PER_PAGE = 20
BUILTIN = "builtin:digits-on-photos"


@page("/", "Data sets")
async def show() -> None:
    datasets = Pager(api().datasets.list(limit=PER_PAGE + 1), PER_PAGE)
    first = await datasets.page()  # before drawing, so that an unavailable service shows a single message
    key = own_key()
    html("home", largest=(await api().limits()).max_upload_bytes, key=key, upload=upload)
    ui.html("<h2>Your data sets</h2>", sanitize=False)
    if first:
        await show_pages(datasets, lambda page: html("datasets", datasets=page))
        return
    with ui.element("div").classes("empty"):
        html("no_dataset", key=key)
        if key.may("train"):
            button("Try a built-in data set", _builtin, "second")


@notify_on_error
async def _builtin() -> None:
    dataset = await api().datasets.from_source(BUILTIN)
    ui.navigate.to(f"/datasets/{dataset.id}")
