"""The home page: an introduction, an upload area for archives, and all data sets."""

from __future__ import annotations

from nicegui import ui

from masktune import Dataset
from web.forms import upload
from web.shell import button, html, notify_on_error, page
from web.transport.connection import api, own_key
from web.widgets import FilteredList

PER_PAGE = 20
BUILTIN = "builtin:digits-on-photos"


@page("/", "Data sets")
async def show(q: str = "", since: str = "") -> None:
    key = own_key()
    html("home", largest=(await api().limits()).max_upload_bytes, key=key, upload=upload)
    ui.html("<h2>Your data sets</h2>", sanitize=False)

    def draw(datasets: list[Dataset]) -> None:
        is_new = not (datasets or dataset_list.choices)
        dataset_list.form.set_visibility(not is_new)
        if not is_new:
            html("datasets", datasets=datasets)
            return
        with ui.element("div").classes("empty"):
            html("no_dataset", key=key)
            if key.may("train"):
                button("Try a built-in data set", _builtin, "second")

    dataset_list = FilteredList("/", api().datasets.list, draw, per_page=PER_PAGE)
    await dataset_list.build(q, since)


@notify_on_error
async def _builtin() -> None:
    dataset = await api().datasets.from_source(BUILTIN)
    ui.navigate.to(f"/datasets/{dataset.id}")
