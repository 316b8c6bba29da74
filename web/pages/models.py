"""All models, with their aliases."""

from __future__ import annotations

from nicegui import ui

from masktune import Model
from web.forms.kinds import BACKBONES
from web.paging import Pager, first
from web.shell import guarded, html, page
from web.text import labels as words
from web.transport.connection import api, own_key
from web.transport.uploads import largest
from web.widgets import choice, pages_of

PER_PAGE = 25
OFFERED = 100
"""The newest data sets, offered for an imported model and shown by name."""


@page("/models", "Models")
async def show() -> None:
    connection = api()
    aliases = [alias async for alias in connection.models.aliases()]
    named: dict[str, list[str]] = {}
    for alias in aliases:
        named.setdefault(alias.model, []).append(alias.name)
    held = Pager(connection.models.list(limit=PER_PAGE + 1), PER_PAGE)
    shown = await held.page()

    async def draw(pager: Pager[Model]) -> None:
        await pager.page()
        holder.clear()
        with holder:
            await pages_of(pager, lambda models: html("models", models=models, named=named, names=names))

    @guarded
    async def filtered(*_: object) -> None:
        await draw(Pager(connection.models.list(arm=arm.value or None, limit=PER_PAGE + 1), PER_PAGE))

    datasets = await first(connection.datasets.list(limit=OFFERED), OFFERED)
    names = {dataset.id: dataset.name for dataset in datasets}
    html("models_title", aliases=aliases)
    own = await own_key(connection)
    if own.may("train"):
        html(
            "import_model",
            datasets=[dataset for dataset in datasets if dataset.state == "ready"],
            backbones=BACKBONES,
            empty=not shown,
            largest=await largest(connection),
            own=own,
        )
    with ui.element("div").style("max-width: 280px; margin-bottom: 16px"):
        arm = choice("Kind", {"": "all kinds"} | words.ARMS, "", on_change=filtered)
    holder = ui.element("div")
    await draw(held)
