"""All models, with their aliases."""

from __future__ import annotations

from masktune import Model
from masktune.contract.report.text import names
from web.paging import first
from web.shell import html, page
from web.transport.connection import api, own_key
from web.widgets import FilteredList

PER_PAGE = 25
BACKBONES = ("small_cnn", "resnet32", "resnet18", "resnet50", "convnext_tiny", "vit_b_16")
"""Suggested for an imported model; any other may be typed."""
OFFERED = 100
"""The newest data sets, offered for an imported model and shown by name."""


@page("/models", "Models")
async def show(arm: str = "", q: str = "", since: str = "") -> None:
    connection = api()
    aliases = [alias async for alias in connection.models.aliases()]
    aliases_of: dict[str, list[str]] = {}
    for alias in aliases:
        aliases_of.setdefault(alias.model, []).append(alias.name)
    datasets = await first(connection.datasets.list(limit=OFFERED), OFFERED)
    dataset_names = {dataset.id: dataset.name for dataset in datasets}
    html("models_title", aliases=aliases)
    key = own_key()
    if key.may("train"):
        html(
            "import_model",
            datasets=[dataset for dataset in datasets if dataset.state == "ready" and dataset.labelled],
            backbones=BACKBONES,
            empty=not await first(connection.models.list(limit=1), 1),
            largest=(await connection.limits()).max_upload_bytes,
        )
    arms = {"": "all kinds"} | {one.value: names.ARM_NAMES[one] for one in names.ARMS}

    def draw(models: list[Model]) -> None:
        names = {"aliases_of": aliases_of, "names": dataset_names}
        html("models", models=models, is_filtered=bool(model_list.choices), **names)

    model_list = FilteredList("/models", connection.models.list, draw, per_page=PER_PAGE)
    model_list.choose("arm", "Kind", arms, arm)
    await model_list.build(q, since)
