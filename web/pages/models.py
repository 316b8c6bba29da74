"""All models, with their aliases."""

from __future__ import annotations

from nicegui import ui

from masktune import Model
from masktune.contract.report.text import names
from web.paging import Pager, first
from web.shell import html, notify_on_error, page
from web.transport.connection import api, own_key
from web.widgets import select_field, show_pages

PER_PAGE = 25
BACKBONES = ("small_cnn", "resnet32", "resnet18", "resnet50", "convnext_tiny", "vit_b_16")
"""Suggested for an imported model; any other may be typed."""
OFFERED = 100
"""The newest data sets, offered for an imported model and shown by name."""


@page("/models", "Models")
async def show() -> None:
    connection = api()
    aliases = [alias async for alias in connection.models.aliases()]
    aliases_of: dict[str, list[str]] = {}
    for alias in aliases:
        aliases_of.setdefault(alias.model, []).append(alias.name)
    newest = Pager(connection.models.list(limit=PER_PAGE + 1), PER_PAGE)
    is_empty = not await newest.page()

    async def draw(pager: Pager[Model]) -> None:
        await pager.page()
        holder.clear()
        with holder:
            await show_pages(
                pager, lambda page: html("models", models=page, aliases_of=aliases_of, names=dataset_names)
            )

    @notify_on_error
    async def filter_by_arm(*_: object) -> None:
        await draw(Pager(connection.models.list(arm=arm.value or None, limit=PER_PAGE + 1), PER_PAGE))

    datasets = await first(connection.datasets.list(limit=OFFERED), OFFERED)
    dataset_names = {dataset.id: dataset.name for dataset in datasets}
    html("models_title", aliases=aliases)
    key = own_key()
    if key.may("train"):
        html(
            "import_model",
            datasets=[dataset for dataset in datasets if dataset.state == "ready"],
            backbones=BACKBONES,
            empty=is_empty,
            largest=(await connection.limits()).max_upload_bytes,
        )
    arms = {"": "all kinds"} | {arm.value: names.ARM_NAMES[arm] for arm in names.ARMS}
    with ui.element("div").style("max-width: 280px; margin-bottom: 16px"):
        arm = select_field("Kind", arms, "", on_change=filter_by_arm)
    holder = ui.element("div")
    await draw(newest)
