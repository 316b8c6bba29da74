"""Jobs side by side: the figures of their models, and the fields in which they differ."""

from __future__ import annotations

from web.shell import html, page
from web.transport.connection import api, dataset_names, request

MOST = 25
"""Most jobs that are compared: the report of each is read."""


@page("/compare", "Jobs side by side", "/jobs")
async def show() -> None:
    """`jobs` in the address: ids, separated by commas or as several parameters."""
    ids = ",".join(request().query_params.getlist("jobs")).split(",")
    jobs = list(filter(None, dict.fromkeys(ids)))
    comparison = await api().jobs.compare(*jobs[:MOST])
    html("compare", comparison=comparison, dataset_names=await dataset_names(), left_out=len(jobs[MOST:]))
