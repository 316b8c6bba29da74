"""`/jobs/{id}/report`: whether MaskTune helped, as JSON or as an HTML page."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.deps import READER, ArtifactsDep, CallerFirst, LoadedJob
from app.http.etag import JSON, conditional
from app.http.negotiation import preferred
from app.http.responses import NOT_MODIFIED, sends
from app.operations.problems_routes import problems
from app.reports import service as reports
from masktune.contract.report import Report

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=CallerFirst)

HTML = "text/html"


@router.get(
    "/{job_id}/report",
    dependencies=[READER],
    response_model=Report,
    summary="Get the before/after report",
    responses=sends(HTML, description="The report; with `Accept: text/html` as one self-contained page.")
    | NOT_MODIFIED
    | problems(404, 409),
)
def get_report(request: Request, row: LoadedJob, artifacts: ArtifactsDep) -> Response:
    vary = {"Vary": "Accept"}
    if preferred(request.headers.get("accept", ""), (JSON, HTML)) == HTML:
        body = reports.page(row, artifacts)
        return conditional(request, body, media_type=f"{HTML}; charset=utf-8", headers=vary | reports.SEALED)
    body = reports.read(row, artifacts).model_dump_json().encode()
    return conditional(request, body, headers=vary)
