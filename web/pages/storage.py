"""What fills the store, and what may go."""

from __future__ import annotations

from web.shell import html, page
from web.transport.connection import api, dataset_names


@page("/storage", "Storage")
async def show() -> None:
    html("storage", storage=await api().storage(), dataset_names=await dataset_names())
