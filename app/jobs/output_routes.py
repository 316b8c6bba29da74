"""What a job puts out: `/jobs/{id}/events`, a resumable stream or JSON pages, depending on `Accept`; and
`/jobs/{id}/predictions`, the table of a predict job, as a file and row by row."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from app.auth.deps import READER, AuthorizeDep, CallerFirst
from app.http.deps import ArtifactsDep, DatabaseDep
from app.http.lists import DEFAULT_LIMIT, Cursor, Limit
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, conditional, send_file, sends
from app.jobs import event_stream
from app.jobs import service as jobs
from app.jobs.event_feed import EventFeedDep
from app.jobs.prediction_table import TABLE, RowFilters, read_page
from app.jobs.service import LoadedJob
from masktune.contract.base import Page
from masktune.contract.jobs import EventPage
from masktune.contract.serving.prediction_table import PredictionRow
from masktune.contract.vocabulary import Decision

MEDIA_TYPES = {".parquet": "application/vnd.apache.parquet", ".csv": "text/csv; charset=utf-8"}

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=CallerFirst)


@router.get(
    "/{job_id}/events",
    dependencies=[READER],
    summary="Follow the events of a job",
    response_model=EventPage,
    responses=sends("text/event-stream")
    | {204: {"description": "As a stream: the job has ended, and there are no events after that number."}}
    | NOT_MODIFIED
    | problems(404, 422),
)
async def list_events(
    request: Request,
    row: LoadedJob,
    database: DatabaseDep,
    event_feed: EventFeedDep,
    authorize: AuthorizeDep,
    after: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Only events after this number.")
    ] = None,
    last_event_id: Annotated[
        int | None,
        Header(
            alias="Last-Event-ID", ge=0, le=2**31 - 1, description="The same, as an EventSource sends it."
        ),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    thin: Annotated[
        bool,
        Query(description="As JSON: without the progress within an epoch."),
    ] = False,
) -> Response:
    """With `Accept: text/event-stream`, server-sent events: the stream ends after the event that reports
    the job's end, and `event: error` carries a problem. Otherwise a page of JSON: more events may follow
    the last page later, so ask again with `after`."""
    begin = next((number for number in (last_event_id, after) if number is not None), 0)
    if not event_stream.accepts_stream(request.headers.get("accept", "")):
        read = partial(event_stream.page, cursor=cursor, limit=limit, thin=thin)
        page = await run_in_threadpool(read, database, row, begin)
        return conditional(request, page, headers={"Vary": "Accept"})
    if row.state.ended and begin >= row.event_seq:
        return Response(status_code=204, headers={"Vary": "Accept"})  # an EventSource stops reconnecting
    event_feed.check_capacity()
    begin = min(begin, row.event_seq)  # after a number never issued (e.g. after a restore) it would not end
    return StreamingResponse(
        event_stream.frames(event_feed, row.id, after=begin, instance=request.url.path, authorize=authorize),
        media_type="text/event-stream",
        # Proxies must not buffer the stream.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"},
    )


@router.get(
    "/{job_id}/predictions",
    dependencies=[READER],
    summary="Get the file of a predict job",
    response_class=Response,
    responses=sends("application/vnd.apache.parquet", "text/csv") | NOT_MODIFIED | problems(404, 409),
)
def get_predictions(request: Request, row: LoadedJob, artifacts: ArtifactsDep) -> Response:
    file = jobs.predictions(row, artifacts)
    kind = MEDIA_TYPES[file.suffix]
    return send_file(request, file, media_type=kind, filename=f"{row.id}{file.suffix}")


@router.get(
    "/{job_id}/predictions/rows",
    dependencies=[READER],
    summary="List the rows of a predict job's table",
    response_model=Page[PredictionRow],
    responses=NOT_MODIFIED | problems(404, 409, 422),
)
def list_prediction_rows(
    request: Request,
    row: LoadedJob,
    artifacts: ArtifactsDep,
    decision: Annotated[Decision | None, Query(description="Only rows with this decision.")] = None,
    label: Annotated[
        str | None, Query(max_length=200, description="Only images that the data set gives this class.")
    ] = None,
    predicted: Annotated[
        str | None, Query(max_length=200, description="Only images that were answered with this class.")
    ] = None,
    min_score: Annotated[
        float | None, Query(ge=0, le=1, description="Only rows with this score or a higher one.")
    ] = None,
    max_score: Annotated[
        float | None, Query(ge=0, le=1, description="Only rows with this score or a lower one.")
    ] = None,
    sort: Annotated[
        Literal["table", "least_sure"], Query(description="As in the table, or by `score`, the lowest first.")
    ] = "table",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    filters = RowFilters(decision, label, predicted, min_score, max_score, sort)
    file = jobs.predictions(row, artifacts, TABLE)
    return conditional(request, read_page(file, filters, cursor=cursor, limit=limit))
