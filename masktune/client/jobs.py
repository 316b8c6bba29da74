"""Jobs: start, follow, wait for, cancel, resume and delete them, and get their results."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from masktune.client.calls import (
    Changes,
    Filters,
    call,
    create,
    fetch,
    get,
    get_list,
    pages,
    segment,
    until,
    update,
)
from masktune.client.errors import JobNotSucceeded, WaitedTooLong
from masktune.client.events import follow, follow_batches
from masktune.client.names import by_name
from masktune.client.resource import D, Listing, Operation, Resource
from masktune.client.transfers import download
from masktune.client.wire import Emit, EmittingFlow, Flow, Now, Request
from masktune.contract.image_answers import ImageAnswers
from masktune.contract.jobs import Comparison, Event, Job, JobPlan, Preset, side_by_side
from masktune.contract.report import Report
from masktune.contract.serving.prediction_table import PredictionRow

LOOK_SECONDS = 0.2
"""Least interval between two requests for a watched job, unless its state has changed."""


def start(kind: str, *, idempotency_key: str | None = None, **fields: Any) -> Flow[Job]:
    """Queue a job of this kind: `start("masktune", dataset="ds_…", epochs=15)`.

    The fields are those of `POST /jobs/{kind}`; every one but the data set has a default.
    """
    return call(create(f"/jobs/{segment(kind)}", json=fields, key=idempotency_key), Job)


def plan(kind: str, **fields: Any) -> Flow[JobPlan]:
    """Check the fields of `start`; return them resolved, with an estimate of the cost. Starts nothing."""
    path = f"/jobs/{segment(kind)}"
    request = Request(method="POST", path=path, query={"dry_run": True}, json=fields, repeatable=True)
    return call(request, JobPlan)


def evaluate(
    job_id: str, dataset: str, *, breaks_pattern: bool = False, idempotency_key: str | None = None
) -> Flow[Job]:
    """Judge all models of a job on the images of another data set, whose classes are some or all of the
    job's. `breaks_pattern`: all of them lack the pattern which the other images of their class share."""
    fields = {"job": job_id, "dataset": dataset, "breaks_pattern": breaks_pattern}
    return start("evaluate", idempotency_key=idempotency_key, **fields)


def predict_dataset(
    model: str,
    dataset: str | None = None,
    *,
    source: str | None = None,
    split: str = "all",
    idempotency_key: str | None = None,
    **fields: Any,
) -> Flow[Job]:
    """Predict every image of a data set, or of one of its splits, into a table; or of a `source`: the allowed
    address of images without labels, or of a table of their paths, which becomes a data set. The other fields
    are those of `POST /jobs/predict`: a policy (`coverage`, `max_risk`, `min_score`), `output`, `order` …"""
    fields |= {"model": model, "split": split}
    fields |= {name: of for name, of in (("dataset", dataset), ("source", source)) if of is not None}
    return start("predict", idempotency_key=idempotency_key, **fields)


def list_presets() -> EmittingFlow[Preset]:
    """Iterate over the presets: named hyperparameters, for `preset` in `start`."""
    return pages(get("/presets"), Preset)


def get_job(job_id: str) -> Flow[Job]:
    """Get the job in its current state."""
    return call(get(f"/jobs/{segment(job_id)}"), Job)


def update_job(job_id: str, *, if_match: str | None = None, **changes: Unpack[Changes]) -> Flow[Job]:
    """Change the name or the metadata. `if_match`: only if it still has this ETag."""
    return call(update(f"/jobs/{segment(job_id)}", changes, if_match), Job)


def list_jobs(
    *,
    kind: str | None = None,
    state: str | None = None,
    dataset: str | None = None,
    limit: int | None = None,
    **filters: Unpack[Filters],
) -> EmittingFlow[Job]:
    """Iterate over jobs, newest first, optionally by kind, state, data set or what all resources have:
    `list(name="night", metadata={"site": "Bern"})`. `limit` is the page size."""
    return pages(get_list("/jobs", filters, kind=kind, state=state, dataset=dataset, limit=limit), Job)


def cancel(job_id: str) -> Flow[Job]:
    """Request that the job be cancelled. A 409 problem if it has already ended."""
    return call(Request(method="POST", path=f"/jobs/{segment(job_id)}/cancel"), Job)


def resume(job_id: str) -> Flow[Job]:
    """Resume a failed or cancelled job from its last checkpoint."""
    return call(Request(method="POST", path=f"/jobs/{segment(job_id)}/resume"), Job)


def delete_job(job_id: str, *, keep_dataset: bool = False) -> Flow[None]:
    """Delete a job that has ended, with its report and predictions, and with an unlabelled data set that no
    other predict job used, unless `keep_dataset`. A 409 problem while something uses it."""
    query = {"keep_dataset": keep_dataset or None}
    yield from fetch(Request(method="DELETE", path=f"/jobs/{segment(job_id)}", query=query, repeatable=True))


def watch(job_id: str) -> EmittingFlow[Job]:
    """Iterate over the job's states: the current one, then one after each change, until the job ends."""
    job = yield from get_job(job_id)
    yield Emit(job)

    requested_at = float("-inf")

    def look_again(events: list[Event]) -> EmittingFlow[Job]:
        nonlocal job, requested_at
        now: float = yield Now()
        # Events come in bursts, so one request covers many of them. A change of state is never skipped.
        if now - requested_at < LOOK_SECONDS and events and all(event.type != "state" for event in events):
            return
        requested_at = now
        latest = yield from get_job(job_id)
        if latest != job:
            job = latest
            yield Emit(job)

    if not job.ended:
        yield from follow_batches(job_id, after=0, tell=look_again)
        # The request after the last event may have reached a service that was restarting.
        yield from look_again([])


def wait(job_id: str, *, timeout: float | None = None) -> Flow[Job]:
    """Wait for the job to succeed. Raises `JobNotSucceeded`, or `WaitedTooLong` after `timeout` seconds."""
    job = yield from until(lambda job: job.ended, get(f"/jobs/{segment(job_id)}"), Job, timeout=timeout)
    if not job.ended:
        raise WaitedTooLong(f"job {job_id} was still {job.state} after {timeout:g} s")
    if job.state != "succeeded":
        raise JobNotSucceeded(job)
    return job


def compare(*job_ids: str) -> Flow[Comparison]:
    """Put the models of jobs side by side, with the fields in which the jobs differ."""
    jobs, reports = [], {}
    for job_id in dict.fromkeys(job_ids):
        job = yield from by_name(get_job)(job_id)
        jobs.append(job)
        if job.metrics:
            reports[job.id] = yield from report(job.id)
    return side_by_side(jobs, reports)


def predictions(job_id: str, target: Path | str) -> Flow[Path]:
    """Write the predictions of a predict job to `target`."""
    return download(get(f"/jobs/{segment(job_id)}/predictions"), Path(target))


class RowFilters(TypedDict, total=False):
    """Which rows of a table of predictions are listed, and in which order; all that is given must hold."""

    decision: str | None
    """answer, abstain or unreadable."""
    label: str | None
    """The class that the data set gives the image."""
    predicted: str | None
    min_score: float | None
    max_score: float | None
    sort: str | None
    """table (the default) or least_sure."""


def list_prediction_rows(
    job_id: str, *, limit: int | None = None, **filters: Unpack[RowFilters]
) -> EmittingFlow[PredictionRow]:
    """Iterate over the table of a predict job: all rows, or those that pass the filters. `limit` is the page
    size."""
    query = get(f"/jobs/{segment(job_id)}/predictions/rows", limit=limit, **filters)
    return pages(query, PredictionRow)


def report(job_id: str) -> Flow[Report]:
    """Get the before/after report."""
    return call(get(f"/jobs/{segment(job_id)}/report"), Report)


def report_html(job_id: str) -> Flow[str]:
    """Get the before/after report as one self-contained HTML page."""
    request = replace(get(f"/jobs/{segment(job_id)}/report"), headers={"Accept": "text/html"})
    return (yield from fetch(request)).text


def image_answers(job_id: str) -> Flow[ImageAnswers]:
    """Get what a person said of the images that the report lists. A 404 problem if nobody has."""
    return call(get(f"/jobs/{segment(job_id)}/image-answers"), ImageAnswers)


def set_image_answers(
    job_id: str,
    answers: Mapping[int, bool],
    *,
    label_right: Collection[int] = (),
    if_match: str | None = None,
) -> Flow[ImageAnswers]:
    """Say of images that the report lists, by sample, whether they lack the pattern of their class; and of
    others whose label looks wrong that it is right.

    Replaces earlier answers; `if_match`: only if they still have this ETag. The next job on the data set goes
    by them, unless it is told its `head.gate`.
    """
    body: dict[str, Any] = {
        "answers": [{"sample": sample, "lacks_pattern": lacks} for sample, lacks in answers.items()]
    } | ({"label_right": list(label_right)} if label_right else {})
    path, headers = (
        f"/jobs/{segment(job_id)}/image-answers",
        {} if if_match is None else {"If-Match": if_match},
    )
    request = Request(method="PUT", path=path, json=body, headers=headers, repeatable=if_match is None)
    return call(request, ImageAnswers)


def report_picture(job_id: str, name: str) -> Flow[bytes]:
    """Get a picture that the report names, as PNG bytes."""
    return (yield from fetch(get(f"/jobs/{segment(job_id)}/report/pictures/{segment(name)}"))).content


class Jobs(Resource[D]):
    """`client.jobs`."""

    start = Operation(start)
    plan = Operation(plan)
    evaluate = Operation(evaluate)
    predict = Operation(predict_dataset)
    presets = Listing(list_presets)
    get = Operation(get_job)
    update = Operation(update_job)
    list = Listing(list_jobs)
    cancel = Operation(cancel)
    resume = Operation(resume)
    delete = Operation(delete_job)
    events = Listing(follow)
    watch = Listing(watch)
    wait = Operation(wait)
    report = Operation(report)
    image_answers = Operation(image_answers)
    set_image_answers = Operation(set_image_answers)
    compare = Operation(compare)
    predictions = Operation(predictions)
    prediction_rows = Listing(list_prediction_rows)
    report_html = Operation(report_html)
    report_picture = Operation(report_picture)
