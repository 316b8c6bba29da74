"""`/jobs/{id}/predictions`: the table of a predict job, as a file and row by row."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.auth.deps import READER, CallerFirst
from app.http.deps import ArtifactsDep
from app.http.lists import DEFAULT_LIMIT, Cursor, Limit
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, conditional, send_file, sends
from app.jobs import service as jobs
from app.jobs.prediction_table import TABLE, RowFilters, read_page
from app.jobs.service import LoadedJob
from masktune.contract.base import Page
from masktune.contract.prediction_table import PredictionRow
from masktune.contract.vocabulary import Decision

MEDIA_TYPES = {".parquet": "application/vnd.apache.parquet", ".csv": "text/csv; charset=utf-8"}

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=CallerFirst)


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
