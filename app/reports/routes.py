"""`/jobs/{id}/report`: whether MaskTune helped, as JSON or as an HTML page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.auth.deps import READER, CallerFirst
from app.http.deps import ArtifactsDep, DatabaseDep
from app.http.etag import JSON, conditional
from app.http.file_response import send_file
from app.http.negotiation import preferred
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, sends
from app.jobs.service import LoadedJob
from app.reports import reviews
from app.reports import service as reports
from masktune.contract.report import Report

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=CallerFirst)

HTML, PNG = "text/html", "image/png"


@router.get(
    "/{job_id}/report",
    dependencies=[READER],
    response_model=Report,
    summary="Get the before/after report",
    responses=sends(HTML, description="The report; with `Accept: text/html` as one self-contained page.")
    | NOT_MODIFIED
    | problems(404, 409),
)
def get_report(request: Request, row: LoadedJob, artifacts: ArtifactsDep, database: DatabaseDep) -> Response:
    vary = {"Vary": "Accept"}
    report = reports.read(row, artifacts)
    with database.read() as session:
        report = reviews.presented(session, report)
    if preferred(request.headers.get("accept", ""), (JSON, HTML)) == HTML:
        body = reports.page(report, row, artifacts)
        return conditional(request, body, media_type=f"{HTML}; charset=utf-8", headers=vary | reports.SEALED)
    return conditional(request, report, headers=vary)


@router.get(
    "/{job_id}/report/pictures/{name}",
    dependencies=[READER],
    response_class=Response,
    summary="Get a picture of the report",
    responses=sends(PNG) | NOT_MODIFIED | problems(404, 409),
)
def get_report_picture(
    request: Request,
    row: LoadedJob,
    artifacts: ArtifactsDep,
    name: Annotated[str, Path(pattern=r"^[\w-]+\.png$", description="As the report names it.")],
) -> Response:
    return send_file(request, reports.picture_path(row, artifacts, name), media_type=PNG)
