"""`/jobs/{id}/report`: whether MaskTune helped, as JSON or as HTML; and what a person says of its images."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.auth.deps import READER, TRAINER, CallerDep, CallerFirst
from app.http.deps import ArtifactsDep, DatabaseDep, Reading, RootPathDep
from app.http.negotiation import preferred
from app.http.problems import problems
from app.http.responses import (
    JSON,
    NOT_MODIFIED,
    IfMatch,
    Responses,
    conditional,
    represent,
    send_file,
    sends,
)
from app.jobs.service import LoadedJob
from app.reports import image_answers
from app.reports import service as reports
from core.storage.reports import read_report
from masktune.contract.image_answers import ImageAnswers, NewImageAnswers
from masktune.contract.report import Report

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=CallerFirst)

HTML, PNG = "text/html", "image/png"
CREATED: Responses = {201: {"model": ImageAnswers, "description": "These are the first answers."}}


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
    report = read_report(row, artifacts)
    with database.read() as session:
        report = image_answers.presented(session, report)
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


@router.get(
    "/{job_id}/image-answers",
    dependencies=[READER],
    response_model=ImageAnswers,
    summary="Get what a person said of the images that the report lists",
    responses=NOT_MODIFIED | problems(404),
)
def get_image_answers(request: Request, row: LoadedJob, session: Reading) -> Response:
    return conditional(request, image_answers.show(session, row))


@router.put(
    "/{job_id}/image-answers",
    dependencies=[TRAINER],
    response_model=ImageAnswers,
    summary="Say which of the images that the report lists lack the pattern of their class",
    responses=CREATED | problems(404, 409, 412, 413),
)
def set_image_answers(
    row: LoadedJob,
    new: NewImageAnswers,
    caller: CallerDep,
    artifacts: ArtifactsDep,
    database: DatabaseDep,
    root_path: RootPathDep,
    if_match: IfMatch = None,
) -> Response:
    """The answers replace earlier ones.
    The next job on the data set goes by them, unless it is told its `head.gate`."""
    report = read_report(row, artifacts)
    answers = image_answers.check(new, report)
    with database.begin() as session:
        stored, existed = image_answers.put(session, report, answers, caller, if_match=if_match)
    headers = {"Location": f"{root_path}/jobs/{row.id}/image-answers"}
    return represent(stored, status=200 if existed else 201, headers=headers)
