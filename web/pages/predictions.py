"""The table of a predict job: its images page by page, filtered, the least sure first on request."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from nicegui import ui

from masktune import PredictionRow, PredictJob, ProblemError
from web.shell import button, html, page, promise_notice, set_title
from web.text import labels
from web.transport.connection import api, dataset_name
from web.widgets import FilteredList

PER_PAGE = 36


@page("/jobs/{job_id}/predictions", "Predictions", "/jobs")
async def show(job_id: str, decision: str = "", predicted: str = "", sort: str = "") -> None:
    jobs = api().jobs
    job = await jobs.get(job_id)
    dataset = await dataset_name(api(), job.dataset)
    counts = job.counts if isinstance(job, PredictJob) else None
    set_title(f"Predictions on {labels.shorten(dataset)}")
    with ui.element("div").classes("title-row"):
        html("predictions_title", job=job, dataset=dataset, counts=counts)
        with ui.element("div").classes("actions"):
            button("Download", lambda: ui.navigate.to(f"/files/jobs/{job.id}/predictions"), "second")
    html("predictions_summary", job=job, counts=counts)
    with suppress(ProblemError):  # the model may have been deleted
        promise_notice(await api().models.get(job.inputs.model or ""))

    def draw(rows: list[PredictionRow]) -> None:
        html("predictions", rows=rows, dataset=job.dataset, model=job.inputs.model)

    listing = FilteredList(
        f"/jobs/{job.id}/predictions", partial(jobs.prediction_rows, job.id), draw, per_page=PER_PAGE
    )
    answers = {name: name for name in (counts.labels if counts else ())}
    listing.choose("decision", "Decision", {"": "all decisions", **labels.DECISIONS}, decision)
    listing.choose("predicted", "Answer", {"": "all answers", **answers}, predicted)
    listing.choose("sort", "Order", {"": "as in the table", "least_sure": "least sure first"}, sort)
    await listing.show()
