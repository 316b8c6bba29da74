"""A data set read once more with other options: other splits, other groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from masktune import AsyncClient
from web.shell import notify_on_error


@notify_on_error
async def read_again(connection: AsyncClient, dataset_id: str, options: Mapping[str, Any]) -> None:
    """Start the import of a new data set from this one, and open its page."""
    dataset = await connection.datasets.from_source(f"dataset:{dataset_id}", options=options)
    ui.navigate.to(f"/datasets/{dataset.id}")
